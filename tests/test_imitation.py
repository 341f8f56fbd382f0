"""Top-k imitation: which candidates, what they add to the loss, and what it is good for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from exact import gradient_of

from hwn2n.errors import InputError
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.choices.steps import Mask, Steps
from hwn2n.search.learners.actor_critic import LEARNERS
from hwn2n.search.learners.base import Learner
from hwn2n.search.learners.imitation import best_actions
from hwn2n.search.learners.reinforce import Reinforce
from hwn2n.search.learners.reports import ReinforceSettings
from hwn2n.search.policies import RemovalPolicy, ShrinkagePolicy, UniformPolicy
from hwn2n.search.recipes import build_settings

FEATURES = 3


def candidate(number: int, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "stage": "shrinkage",
        "iteration": 0,
        "rollout": number,
        "state": State.TRAINED,
        "key": f"key{number}",
        "actions": (number, number),
        "decision": {},
        "cost": {},
        "accuracy": 0.5,
        "reward": 0.5,
        "terms": {},
        "satisfied": True,
        "id": number,
    }
    return Candidate(**{**values, **changes})


def chosen(candidates: list[Candidate], k: int, **how: Any) -> list[int]:
    found = best_actions(candidates, k, **{"by": "reward", "until": 9, **how})
    assert found is None or (found.dtype == torch.int64 and found.shape[1] == 2)
    return [] if found is None else found[:, 0].tolist()


def test_the_best_of_those_inside_by_reward_or_by_accuracy() -> None:
    rows = [
        candidate(1, reward=0.3, accuracy=0.9),
        candidate(2, reward=0.7, accuracy=0.2),
        candidate(3, reward=0.9, accuracy=0.9, satisfied=False),
        candidate(4, reward=0.9, accuracy=None),
        candidate(5, reward=0.5, accuracy=0.8),
    ]
    assert chosen(rows, 2) == [2, 5]
    assert chosen(rows, 2, by="accuracy") == [1, 5]
    assert chosen(rows, 9) == [2, 5, 1], "fewer than k, where there are fewer"
    assert chosen(rows, 0) == chosen(rows[2:4], 3) == chosen([], 3) == []


def test_copies_of_a_network_count_once_and_the_earlier_of_equals_first() -> None:
    rows = [
        candidate(1, key="a", reward=0.6),
        candidate(2, key="b", reward=0.6),
        candidate(3, key="a", reward=0.8, state=State.REUSED),
        candidate(4, key=None, reward=0.1),
        candidate(5, key=None, reward=0.1),
    ]
    assert chosen(rows, 9) == [3, 2, 4, 5]
    assert chosen(rows[:2], 9) == [1, 2]


def test_a_network_trained_several_times_counts_by_its_mean() -> None:
    lucky = candidate(0, key="a", reward=0.9, accuracy=0.9)
    again = candidate(2, key="a", reward=0.4, accuracy=0.4, iteration=1, actions=(0, 1))
    rows = [lucky, candidate(1, reward=0.6, accuracy=0.6), again]
    assert chosen(rows, 2) == [1, 0] and chosen(rows, 2, by="accuracy") == [1, 0]
    assert chosen(rows, 2, until=0) == [0, 1], "not yet trained again"


def test_what_came_after_the_update_does_not_count() -> None:
    rows = [candidate(1, iteration=0, reward=0.1), candidate(2, iteration=1, reward=0.9)]
    assert chosen(rows, 1, until=0) == [1]
    assert chosen(rows, 1, until=1) == [2]


# ---- the loss


class AtMost(Mask):
    def __init__(self, limit: int, n_actions: int) -> None:
        self.limit = limit
        self.n_actions = n_actions

    def allowed(self, taken: tuple[int, ...]) -> tuple[bool, ...]:
        return tuple(sum(taken) + action <= self.limit for action in range(self.n_actions))


def make_steps(forced: list[int], tied: list[int], mask: Mask | None = None) -> Steps:
    count = len(forced)
    return Steps(
        names=tuple(f"layer{t}" for t in range(count)),
        features=torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(9)),
        forced=torch.tensor(forced),
        tied=torch.tensor(tied),
        mask=mask,
    )


def gradient_after(learner: Learner) -> torch.Tensor:
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in learner.policy.parameters()
        ]
    )


@pytest.mark.parametrize("name", ["reinforce", "actor-critic"])
@pytest.mark.parametrize("mask", [None, AtMost(7, 4)], ids=["free", "masked"])
def test_the_gradient_is_that_of_the_learner_and_of_the_likelihood(
    name: str, mask: Mask | None
) -> None:
    steps = make_steps([-1, 2, -1], [-1, -1, 0], mask)
    actions = torch.tensor([[1, 2, 1], [0, 2, 0]])
    best = torch.tensor([[2, 2, 2], [1, 2, 1]])
    torch.manual_seed(0)
    policy = ShrinkagePolicy(FEATURES, hidden=3, layers=1, n_actions=4).double()
    likely = policy.log_prob(steps, best)[0]
    assert float(likely.detach().min()) < -0.1
    expected = -0.3 * gradient_of(policy, likely.mean())
    gradients, reports = [], []
    for weight, imitate in ((0.0, best), (0.3, best), (0.3, None), (0.3, best[:0])):
        torch.manual_seed(0)
        fresh = ShrinkagePolicy(FEATURES, hidden=3, layers=1, n_actions=4).double()
        learner = LEARNERS[name](fresh, ReinforceSettings(lr=0.1, imitate_weight=weight))
        reports.append(learner.update(steps, actions, [1.0, 0.2], imitate=imitate))
        gradients.append(gradient_after(learner))
    torch.testing.assert_close(gradients[1] - gradients[0], expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(gradients[2], gradients[0]) and torch.equal(gradients[3], gradients[0])
    mean = -float(likely.detach().mean())
    assert [r.imitation for r in reports] == pytest.approx([0.0, mean, 0.0, 0.0])
    assert reports[1].loss == pytest.approx(reports[0].loss + 0.3 * mean)


def test_the_loss_by_hand_with_forced_and_tied_steps_left_out() -> None:
    """Two free steps of ten actions each: 2 ln 10, whatever else the sequence has."""
    steps = make_steps([-1, 4, -1, -1], [-1, -1, 0, -1])
    policy = ShrinkagePolicy(FEATURES, hidden=2)
    with torch.no_grad():
        policy.output.weight.zero_()
    learner = Reinforce(policy, ReinforceSettings(lr=0.1, imitate_weight=2.0))
    best = torch.tensor([[1, 4, 1, 9], [3, 4, 3, 0], [3, 4, 3, 1]])
    report = learner.update(steps, torch.tensor([[0, 4, 0, 0]]), [0.7], imitate=best)
    assert report.imitation == pytest.approx(2 * math.log(10), rel=1e-6)
    assert report.loss == pytest.approx(4 * math.log(10), rel=1e-6), "its advantage is 0"


def test_a_policy_comes_to_prefer_what_it_imitates() -> None:
    steps = make_steps([-1, -1, -1], [-1, -1, -1])
    torch.manual_seed(0)
    policy = RemovalPolicy(FEATURES)
    learner = Reinforce(policy, ReinforceSettings(lr=0.01, imitate_weight=1.0))
    best = torch.tensor([[1, 0, 1], [1, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        actions = policy.sample(steps, 2, generator)
        learner.update(steps, actions, [0.5, 0.5], imitate=best)  # rewards say nothing
    likely = policy.log_prob(steps, best)[0].detach().exp()
    assert float(likely.sum()) > 0.8
    assert float(likely.min()) > 0.2, "both of them"


def test_what_cannot_learn_imitates_nothing() -> None:
    steps = make_steps([-1, -1], [-1, -1])
    best = torch.tensor([[1, 1]])
    frozen = RemovalPolicy(FEATURES, hidden=2)
    for policy in (frozen, UniformPolicy(FEATURES, 2)):
        before = {key: value.clone() for key, value in policy.state_dict().items()}
        learner = LEARNERS["none"](policy, ReinforceSettings(lr=0.1, imitate_weight=1.0))
        report = learner.update(steps, torch.tensor([[0, 1]]), [1.0], imitate=best)
        assert report.grad_norm == 0.0
        assert all(torch.equal(before[key], value) for key, value in policy.state_dict().items())


def test_states_and_settings() -> None:
    policy = RemovalPolicy(FEATURES, hidden=2)
    plain = Reinforce(policy, ReinforceSettings(lr=0.1))
    state = plain.state_dict()
    del state["settings"]["imitate_weight"]  # as written before there was imitation
    plain.load_state_dict(state)
    other = Reinforce(policy, ReinforceSettings(lr=0.1, imitate_weight=0.1))
    with pytest.raises(InputError, match="must have settings"):
        other.load_state_dict(state)
    with pytest.raises(InputError, match="imitate_weight must be a number >= 0"):
        ReinforceSettings(lr=0.1, imitate_weight=-1.0)
    with pytest.raises(InputError, match="imitate_weight must be above 0") as caught:
        build_settings("paper", {"imitate": 3})
    assert "\n" not in str(caught.value)
    assert build_settings("paper", {"imitate": 3, "imitate_weight": 0.1}).imitate == 3
    assert build_settings("paper", {"imitate": 3, "strategy": "random"}).imitate_weight == 0.0
    paper = build_settings("paper")
    assert (paper.mask, paper.imitate, paper.imitate_weight) == (False, 0, 0.0)
