"""Masks on policies: what is sampled, what it is worth, and that the gradient stays exact."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from exact import (
    all_sequences,
    expected_learner_gradient,
    expected_reward,
    finite_differences,
    gradient_of,
    rewards_of,
)

from hwn2n.errors import InputError
from hwn2n.search.choices.steps import Mask, Steps
from hwn2n.search.learners.actor_critic import ActorCritic
from hwn2n.search.learners.base import Learner
from hwn2n.search.learners.reinforce import Reinforce
from hwn2n.search.learners.reports import ReinforceSettings
from hwn2n.search.policies import (
    Policy,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    choosing,
)
from hwn2n.search.policies.choosing import pick

FEATURES = 3


class AtMost(Mask):
    """The weighted sum of the actions is at most `limit`, as that of layers in a budget."""

    def __init__(self, limit: int, n_actions: int, weights: tuple[int, ...] = (1, 1, 1)) -> None:
        self.limit = limit
        self.n_actions = n_actions
        self.weights = weights

    def allowed(self, taken: tuple[int, ...]) -> tuple[bool, ...]:
        spent = sum(w * action for w, action in zip(self.weights, taken, strict=False))
        weight = self.weights[len(taken)]
        return tuple(spent + weight * action <= self.limit for action in range(self.n_actions))


def make_steps(
    mask: Mask,
    forced: tuple[int, ...] = (-1, -1, -1),
    tied: tuple[int, ...] = (-1, -1, -1),
) -> Steps:
    count = len(forced)
    return Steps(
        names=tuple(f"layer{t}" for t in range(count)),
        features=torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(9)),
        forced=torch.tensor(forced),
        tied=torch.tensor(tied),
        mask=mask,
    )


def make_removal() -> Policy:
    torch.manual_seed(1)
    policy = RemovalPolicy(FEATURES, hidden=2, layers=1).double()
    with torch.no_grad():
        policy.output.weight.mul_(4)  # far from uniform, so that a slip would show
    return policy


def make_shrinkage() -> Policy:
    torch.manual_seed(1)
    policy = ShrinkagePolicy(FEATURES, hidden=2, layers=1, n_actions=3).double()
    with torch.no_grad():
        policy.output.weight.mul_(4)
    return policy


REMOVAL = make_steps(AtMost(1, 2))
SHRINKAGE = make_steps(AtMost(3, 3))
MIXED = make_steps(AtMost(3, 3, (2, 0, 0, 1)), forced=(-1, 1, -1, -1), tied=(-1, -1, 0, -1))
CASES = [
    pytest.param(make_removal, REMOVAL, 4, id="removal"),
    pytest.param(make_shrinkage, SHRINKAGE, 17, id="shrinkage"),
    pytest.param(make_shrinkage, MIXED, 5, id="forced-and-tied"),
    pytest.param(lambda: UniformPolicy(FEATURES, 3), SHRINKAGE, 17, id="uniform"),
]
LEARNING = CASES[:3]


@pytest.mark.parametrize(("make", "steps", "count"), CASES)
def test_allowed_sequences_are_counted_by_hand_and_share_all_probability(make, steps, count):
    """Of 0..2 three times 10 add up to more than 3; 2a + b <= 3 has 5 solutions."""
    policy = make()
    sequences = all_sequences(policy, steps)
    assert len(sequences) == count
    log_prob, entropy = policy.log_prob(steps, sequences)
    assert float(log_prob.detach().exp().sum()) == pytest.approx(1.0, abs=1e-6)
    assert bool(torch.isfinite(entropy).all())
    assert bool((entropy >= 0).all())


@pytest.mark.parametrize(("make", "steps", "count"), CASES)
def test_what_is_forbidden_is_never_sampled(make, steps, count):
    policy = make()
    drawn = policy.sample(steps, 2000, torch.Generator().manual_seed(3))
    allowed = {tuple(row) for row in all_sequences(policy, steps).tolist()}
    assert {tuple(row) for row in drawn.tolist()} <= allowed
    assert tuple(policy.greedy(steps).tolist()) in allowed
    sequences, counts = drawn.unique(dim=0, return_counts=True)
    expected = policy.log_prob(steps, sequences)[0].detach().exp()
    error = (counts / 2000 - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / 2000).sqrt() + 1e-3).all())


@pytest.mark.parametrize(("make", "steps", "count"), CASES)
def test_the_likelihood_that_was_sampled_from_is_the_one_that_is_scored(
    make, steps, count, monkeypatch
):
    policy, seen = make(), []

    def spied(logits, uniforms):
        action = pick(logits, uniforms)
        seen.append(torch.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1))
        return action

    monkeypatch.setattr(choosing, "pick", spied)
    actions = policy.sample(steps, 64, torch.Generator().manual_seed(5))
    sampled = torch.stack(seen, dim=1)
    free = steps.free.nonzero().flatten()
    scored = policy.evaluate(steps, actions).log_prob.detach()
    assert sampled.shape == (64, len(free))
    torch.testing.assert_close(scored[:, free], sampled, rtol=1e-6, atol=1e-7)
    seen.clear()
    greedy = policy.greedy(steps).unsqueeze(0)
    if not isinstance(policy, UniformPolicy):  # whose greedy actions are the largest
        sampled = torch.stack(seen, dim=1)
        scored = policy.evaluate(steps, greedy).log_prob.detach()
        torch.testing.assert_close(scored[:, free], sampled, rtol=1e-6, atol=1e-7)


# ---- the gradient


@pytest.mark.parametrize(("make", "steps", "count"), LEARNING)
def test_the_gradient_of_the_expected_reward_against_finite_differences(make, steps, count):
    policy = make()
    exact = gradient_of(policy, expected_reward(policy, steps))
    differences = finite_differences(policy, lambda: expected_reward(policy, steps))
    assert exact.abs().max() > 1e-3
    torch.testing.assert_close(exact, differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("maker", "advantage", "rollouts"),
    [(Reinforce, "ema", 1), (Reinforce, "leave-one-out", 2), (ActorCritic, "ema", 1)],
    ids=["ema", "leave-one-out", "actor-critic"],
)
@pytest.mark.parametrize(("make", "steps", "count"), LEARNING)
def test_every_learner_follows_the_masked_gradient_without_bias(
    make, steps, count, maker, advantage, rollouts
):
    learner: Learner = maker(
        make(), ReinforceSettings(lr=0.1, advantage=advantage, value_weight=0.0)
    )
    learner.baseline = 0.37  # any constant
    ascent = -expected_learner_gradient(learner, steps, rollouts)
    expected = gradient_of(learner.policy, expected_reward(learner.policy, steps))
    torch.testing.assert_close(ascent, expected, rtol=1e-7, atol=1e-9)


def test_removal_in_closed_form():
    """Of three layers at most one may stay: a product of sigmoids, differentiated by hand."""
    policy = make_removal()
    learner = Reinforce(policy, ReinforceSettings(lr=0.1))
    learner.baseline = 0.2
    logits, _ = policy(replace(REMOVAL, mask=None), torch.zeros(1, 3, dtype=torch.int64))
    s0, s1, s2 = torch.sigmoid(logits[0, :, 1] - logits[0, :, 0]).tolist()
    sequences = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    r1, r2, r3, r0 = rewards_of(sequences).tolist()
    chances = [s0, (1 - s0) * s1, (1 - s0) * (1 - s1) * s2, (1 - s0) * (1 - s1) * (1 - s2)]
    found = policy.log_prob(REMOVAL, sequences)[0].detach().exp().tolist()
    assert found == pytest.approx(chances, rel=1e-12)
    later = s2 * r3 + (1 - s2) * r0
    after = s1 * r2 + (1 - s1) * later
    # The bias of the output moves the logits of all three steps at once.
    slope = (
        s0 * (1 - s0) * (r1 - after)
        + (1 - s0) * s1 * (1 - s1) * (r2 - later)
        + (1 - s0) * (1 - s1) * s2 * (1 - s2) * (r3 - r0)
    )
    ascent = -expected_learner_gradient(learner, REMOVAL, 1)
    names = [name for name, p in policy.named_parameters() for _ in range(p.numel())]
    bias = ascent[[name == "output.bias" for name in names]]
    assert bias.tolist() == pytest.approx([-slope, slope], rel=1e-9)


def test_scoring_without_the_mask_would_be_biased():
    policy = make_removal()
    sequences = all_sequences(policy, REMOVAL)
    chance = policy.log_prob(REMOVAL, sequences)[0].detach().exp()
    unmasked = policy.log_prob(replace(REMOVAL, mask=None), sequences)[0]
    wrong = gradient_of(policy, (chance * (rewards_of(sequences) - 0.37) * unmasked).sum())
    right = gradient_of(policy, expected_reward(policy, REMOVAL))
    assert (wrong - right).abs().max() > 0.05 * right.abs().max()


@pytest.mark.parametrize(("make", "steps", "count"), LEARNING)
def test_log_probabilities_and_entropies_have_finite_gradients(make, steps, count):
    policy = make()
    evaluation = policy.evaluate(steps, all_sequences(policy, steps))
    gradient = gradient_of(policy, evaluation.log_prob.sum() + evaluation.entropy.sum())
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) > 1e-3


def test_a_step_with_one_allowed_action_counts_for_nothing():
    policy = make_removal()
    evaluation = policy.evaluate(REMOVAL, torch.tensor([[1, 0, 0]]))
    assert evaluation.log_prob[0, 1:].tolist() == evaluation.entropy[0, 1:].tolist() == [0.0, 0.0]
    assert not gradient_of(policy, evaluation.log_prob[0, 1:].sum()).any()


def test_entropy_is_that_of_what_is_allowed():
    policy = UniformPolicy(FEATURES, 3)
    _, entropy = policy.log_prob(SHRINKAGE, torch.tensor([[0, 0, 0], [2, 0, 1], [2, 1, 0]]))
    logs = [3 * math.log(3), math.log(3) + 2 * math.log(2), math.log(3) + math.log(2)]
    assert entropy.tolist() == pytest.approx(logs, rel=1e-6)


# ---- the parts


def test_the_prior_is_masked_too():
    prior = torch.zeros(3, 2)
    prior[:, 1] = 50.0
    policy = make_removal()
    steps = replace(REMOVAL, prior=prior)
    actions = policy.sample(steps, 3, torch.Generator().manual_seed(0))
    assert actions.tolist() == [[1, 0, 0]] * 3
    assert policy.log_prob(steps, actions)[0].tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_uniform_keeps_as_much_as_may_be():
    assert UniformPolicy(FEATURES, 3).greedy(SHRINKAGE).tolist() == [2, 1, 0]
    free = replace(SHRINKAGE, mask=None)
    assert UniformPolicy(FEATURES, 3).greedy(free).tolist() == [2, 2, 2]


def test_sampling_draws_as_many_numbers_with_a_mask():
    states = []
    for steps in (SHRINKAGE, replace(SHRINKAGE, mask=None)):
        generator = torch.Generator().manual_seed(0)
        make_shrinkage().sample(steps, 4, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_a_mask_that_forbids_nothing_changes_nothing():
    for make, actions in ((make_removal, 2), (make_shrinkage, 3)):
        policy = make()
        wide = make_steps(AtMost(100, actions))
        plain = replace(wide, mask=None)
        drawn = [
            policy.sample(steps, 50, torch.Generator().manual_seed(1)) for steps in (wide, plain)
        ]
        assert torch.equal(*drawn)
        scored = [policy.log_prob(steps, drawn[0]) for steps in (wide, plain)]
        assert torch.equal(scored[0][0], scored[1][0])
        assert torch.equal(scored[0][1], scored[1][1])


def test_pick_never_takes_what_is_infinitely_unlikely():
    logits = torch.tensor([-math.inf, 0.0, 0.0, -math.inf, -math.inf])
    uniforms = torch.tensor([0.0, 0.49, 0.51, 1 - 2**-53], dtype=torch.float64)
    assert pick(logits.expand(4, 5), uniforms).tolist() == [1, 1, 2, 2]
    # ten thirds and the like: sums that end a hair under 1
    odd = torch.full((1, 12), -math.inf)
    odd[:, :11] = torch.randn(11, generator=torch.Generator().manual_seed(0))
    assert pick(odd, torch.tensor([1.0], dtype=torch.float64)).tolist() == [10]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: make_removal().log_prob(REMOVAL, torch.tensor([[0, 0, 1], [1, 0, 1]])),
            "rollout 1 must take actions that the mask allows, but took action 1 at step 'layer2'",
        ),
        (lambda: make_removal().greedy(SHRINKAGE), "must be for 2 actions, but is for 3"),
        (lambda: make_shrinkage().greedy(make_steps(AtMost(-1, 3))), "allows none at 'layer0'"),
    ],
)
def test_bad_masks_and_actions_are_refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
