"""Policies: what is sampled, what is scored, what is left out, and their files."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hwn2n.errors import InputError
from hwn2n.search.choices.steps import Steps
from hwn2n.search.policies import (
    KEEP,
    POLICIES,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    load_policy,
    save_policy,
)
from hwn2n.search.policies.choosing import pick

FEATURES = 4
META = {"features": "normalised", "teacher": "conv4"}


def make_steps(forced, tied=None, seed=0):
    count = len(forced)
    generator = torch.Generator().manual_seed(seed)
    return Steps(
        names=tuple(f"layer{t}" for t in range(count)),
        features=torch.randn(count, FEATURES, generator=generator),
        forced=torch.tensor(forced),
        tied=torch.tensor([-1] * count if tied is None else tied),
    )


MIXED = make_steps([-1, 1, -1, -1, -1, 0], [-1, -1, 0, -1, 1, -1])
FREE = [0, 3]


def make_policies():
    torch.manual_seed(7)
    return [
        RemovalPolicy(FEATURES, hidden=6),
        ShrinkagePolicy(FEATURES, hidden=6),
        UniformPolicy(FEATURES, 3),
    ]


def each_policy(function):
    return pytest.mark.parametrize("policy", make_policies(), ids=lambda p: p.kind)(function)


# ---- steps


def test_free_source_and_settle_by_hand():
    assert MIXED.free.tolist() == [True, False, False, True, False, False]
    assert MIXED.source.tolist() == [0, 1, 0, 3, 1, 5]
    assert MIXED.settle(torch.tensor([[8, 9, 9, 7, 9, 9]])).tolist() == [[8, 1, 8, 7, 1, 0]]


def test_ties_are_followed_to_their_end():
    steps = make_steps([-1, -1, -1], [-1, 0, 1])
    assert steps.source.tolist() == [0, 0, 0]
    assert steps.settle(torch.tensor([5, 0, 0])).tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ()}, "at least one step"),
        ({"names": ("a", "a")}, "'a' comes twice"),
        ({"features": torch.zeros(3, 1)}, "(3, 1)"),
        ({"features": torch.zeros(2, 1, dtype=torch.float64)}, "float64"),
        ({"features": torch.tensor([[0.0], [math.nan]])}, "'b' are not"),
        ({"forced": torch.tensor([-1])}, "`forced`"),
        ({"forced": torch.tensor([-1.0, -1.0])}, "float32"),
        ({"forced": torch.tensor([-2, -1])}, "'a' has -2"),
        ({"tied": torch.tensor([-1, 1])}, "tied to 1"),
        ({"tied": torch.tensor([-1, -3])}, "tied to -3"),
        ({"tied": torch.tensor([-1, 0]), "forced": torch.tensor([-1, 0])}, "'b' is both"),
    ],
)
def test_steps_refuse_what_does_not_hold(change, words):
    good = {
        "names": ("a", "b"),
        "features": torch.zeros(2, 1),
        "forced": torch.tensor([-1, -1]),
        "tied": torch.tensor([-1, -1]),
    }
    with pytest.raises(InputError) as caught:
        Steps(**(good | change))
    assert words in str(caught.value)


# ---- sampling and scoring


@each_policy
def test_samples_are_deterministic_and_settled(policy):
    first, again = (policy.sample(MIXED, 50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.dtype == torch.int64
    assert first.shape == (50, 6)
    assert torch.equal(first, again)
    assert torch.equal(first, MIXED.settle(first))
    assert int(first.min()) >= 0
    assert int(first.max()) < policy.n_actions
    other = policy.sample(MIXED, 50, torch.Generator().manual_seed(4))
    assert not torch.equal(first, other)
    greedy = policy.greedy(MIXED)
    assert greedy.shape == (6,)
    assert torch.equal(greedy, MIXED.settle(greedy))


@each_policy
def test_sampling_draws_the_same_count_whatever_is_free(policy):
    states = []
    for steps in (MIXED, make_steps([-1] * 6)):
        generator = torch.Generator().manual_seed(0)
        policy.sample(steps, 4, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


@each_policy
def test_probabilities_of_all_sequences_sum_to_one(policy):
    grid = torch.cartesian_prod(*[torch.arange(policy.n_actions)] * 2)
    actions = torch.zeros(len(grid), 6, dtype=torch.int64)
    actions[:, FREE] = grid
    log_prob, entropy = policy.log_prob(MIXED, MIXED.settle(actions))
    assert log_prob.shape == entropy.shape == (len(grid),)
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@each_policy
def test_sampling_follows_the_recomputed_probabilities(policy):
    steps = make_steps([-1, -1])
    drawn = policy.sample(steps, 20_000, torch.Generator().manual_seed(1))
    sequences, counts = drawn.unique(dim=0, return_counts=True)
    expected = policy.log_prob(steps, sequences)[0].exp().detach()
    error = (counts / 20_000 - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-4).all())


def test_stepwise_and_whole_passes_agree():
    """The distribution that was sampled from is the one that is scored, step by step."""
    policy = ShrinkagePolicy(FEATURES, hidden=6).double()
    with torch.no_grad():
        policy.output.weight.mul_(20)  # far from uniform, so that a slip would show
    generator = torch.Generator().manual_seed(5)
    actions = policy.sample(MIXED, 64, generator)
    uniforms = torch.rand(64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    logits, _ = policy(MIXED, actions)
    assert torch.equal(MIXED.settle(pick(logits, uniforms)), actions)


def test_uniform_policy_in_closed_form():
    policy = UniformPolicy(FEATURES, 10)
    actions = policy.sample(MIXED, 3, torch.Generator().manual_seed(0))
    log_prob, entropy = policy.log_prob(MIXED, actions)
    assert log_prob.tolist() == pytest.approx([-2 * math.log(10)] * 3, rel=1e-6)
    assert entropy.tolist() == pytest.approx([2 * math.log(10)] * 3, rel=1e-6)
    assert policy.greedy(make_steps([-1, -1])).tolist() == [9, 9]


def test_pick_inverts_the_cumulative_distribution():
    logits = torch.tensor([0.2, 0.3, 0.5]).log()
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51, 1 - 1e-16], dtype=torch.float64)
    assert pick(logits.expand(6, 3), uniforms).tolist() == [0, 0, 1, 1, 2, 2]
    assert pick(logits, None).item() == 2


def test_the_prior_of_the_steps_sets_the_first_share_of_kept_layers():
    policy = RemovalPolicy(FEATURES)
    with torch.no_grad():
        policy.output.weight.zero_()
    plain = make_steps([-1] * 4)
    steps = replace(plain, prior=torch.tensor([[0.0, 2.0]] * 4))
    keep = torch.full((1, 4), KEEP)
    log_prob, _ = policy.log_prob(steps, keep)
    assert log_prob.item() == pytest.approx(4 * math.log(1 / (1 + math.exp(-2))), rel=1e-5)
    assert policy.log_prob(plain, keep)[0].item() == pytest.approx(4 * math.log(0.5), rel=1e-5)


def test_a_shrinkage_prior_moves_samples_and_probabilities_alike():
    policy = ShrinkagePolicy(FEATURES)
    prior = torch.full((3, 10), -30.0)
    prior[:, 6] = 0.0
    steps = replace(make_steps([-1] * 3), prior=prior)
    actions = policy.sample(steps, 4, torch.Generator().manual_seed(0))
    assert actions.tolist() == [[6, 6, 6]] * 4
    assert policy.log_prob(steps, actions)[0].tolist() == pytest.approx([0.0] * 4, abs=1e-3)


def test_a_prior_of_the_wrong_width_is_refused():
    steps = replace(make_steps([-1] * 3), prior=torch.zeros(3, 4))
    with pytest.raises(InputError, match="must have 2 actions, but has 4"):
        RemovalPolicy(FEATURES).greedy(steps)


# ---- forced and tied steps


@pytest.mark.parametrize("policy", make_policies()[:2], ids=lambda p: p.kind)
def test_forced_and_tied_steps_count_for_nothing(policy):
    actions = policy.sample(MIXED, 5, torch.Generator().manual_seed(2))
    evaluation = policy.evaluate(MIXED, actions)
    fixed = ~MIXED.free
    assert not evaluation.log_prob[:, fixed].any()
    assert not evaluation.entropy[:, fixed].any()
    assert bool((evaluation.log_prob[:, FREE] < 0).all())

    kept = []
    hook = policy.output.register_forward_hook(
        lambda module, args, out: (out.retain_grad(), kept.append(out))[-1]
    )
    log_prob, entropy = policy.log_prob(MIXED, actions)
    hook.remove()
    (log_prob + entropy).sum().backward()
    gradient = kept[0].grad
    assert gradient is not None
    assert not gradient[..., fixed, :].any()
    assert bool((gradient[..., FREE, :].abs().sum(dim=-1) > 0).all())

    def disturb(module, args, out):
        out = out.clone()
        out[..., fixed, :] += 100 * torch.randn(out[..., fixed, :].shape)
        return out

    hook = policy.output.register_forward_hook(disturb)
    disturbed = policy.log_prob(MIXED, actions)
    hook.remove()
    assert torch.equal(disturbed[0], log_prob)
    assert torch.equal(disturbed[1], entropy)


def test_autoregressive_input_is_the_action_taken():
    """The value read at step t is that of the settled action at t - 1, and 0 at the first."""
    policy = ShrinkagePolicy(FEATURES, hidden=6)
    seen = []
    hook = policy.lstm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    actions = policy.sample(MIXED, 8, torch.Generator().manual_seed(0))
    sampling = torch.cat(seen)[:, :, -1]  # (T, 8)
    seen.clear()
    policy.log_prob(MIXED, actions)
    hook.remove()
    scoring = seen[0][:, :, -1]
    expected = torch.zeros(6, 8)
    expected[1:] = (actions[:, :-1].T + 1) / 10
    assert torch.equal(sampling, expected)
    assert torch.equal(scoring, expected)
    assert expected[2].tolist() == pytest.approx([0.2] * 8)  # after step 1, forced to action 1
    assert torch.equal(expected[3], expected[1])  # after step 2, tied to step 0


def test_a_forced_action_changes_what_follows_it():
    policy = ShrinkagePolicy(FEATURES, hidden=6)
    low, high = make_steps([0, -1]), make_steps([9, -1])
    a, _ = policy.log_prob(low, torch.tensor([[0, 4]]))
    b, _ = policy.log_prob(high, torch.tensor([[9, 4]]))
    assert a.item() != b.item()


def test_values_do_not_see_the_action_of_their_own_step():
    torch.manual_seed(0)
    policy = ShrinkagePolicy(FEATURES, hidden=6)
    steps = make_steps([-1, -1, -1])
    value = policy.evaluate(steps, torch.tensor([[1, 2, 3], [1, 7, 3]])).value
    # two rows of one batch may be rounded in another order
    assert torch.allclose(value[0, :2], value[1, :2], rtol=0, atol=1e-6)
    assert (value[0, 2] - value[1, 2]).abs() > 1e-4


@pytest.mark.parametrize("policy", make_policies()[:2], ids=lambda p: p.kind)
def test_every_cell_receives_a_gradient(policy):
    policy.zero_grad()
    steps = make_steps([-1] * 5)
    actions = policy.sample(steps, 4, torch.Generator().manual_seed(0))
    evaluation = policy.evaluate(steps, actions)
    (evaluation.log_prob.sum() + evaluation.value.sum()).backward()
    names = [name for name, _ in policy.named_parameters()]
    assert "lstm.weight_hh_l0" in names
    assert "lstm.weight_hh_l1" in names
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_shapes_are_those_of_the_paper():
    removal, shrinkage = RemovalPolicy(7), ShrinkagePolicy(7)
    assert (removal.lstm.hidden_size, removal.lstm.num_layers) == (30, 2)
    assert removal.lstm.bidirectional
    assert (shrinkage.lstm.hidden_size, shrinkage.lstm.num_layers) == (50, 2)
    assert shrinkage.lstm.input_size == 8
    values = shrinkage.values(torch.arange(10)).tolist()
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.greedy(Steps(("a",), torch.zeros(1, 2), *[torch.tensor([-1])] * 2)), "have 2"),
        (lambda p: p.greedy(make_steps([10])), "< 10, but got 10"),
        (lambda p: p.sample(make_steps([-1]), 0, torch.Generator()), "count"),
        (lambda p: p.log_prob(make_steps([-1]), torch.tensor([[10]])), "0..9"),
        (lambda p: p.log_prob(make_steps([-1]), torch.tensor([3])), "(rollouts, 1)"),
        (lambda p: p.log_prob(make_steps([-1]), torch.tensor([[3.0]])), "int64"),
        (lambda p: p.log_prob(make_steps([2, -1]), torch.tensor([[3, 3]])), "'layer0' is forced"),
        (lambda p: ShrinkagePolicy(0), "n_features"),
        (lambda p: RemovalPolicy(3, hidden=10**9), "hidden"),
        (lambda p: RemovalPolicy(3, layers=True), "layers"),
    ],
)
def test_bad_calls_are_refused(call, words):
    with pytest.raises(InputError) as caught:
        call(ShrinkagePolicy(FEATURES, hidden=6))
    assert words in str(caught.value)


# ---- files


@each_policy
def test_policy_file_round_trip(policy, tmp_path):
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy, META)
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    loaded, meta = load_policy(path, kind=policy.kind, features="normalised")
    assert torch.equal(before, torch.random.get_rng_state())
    assert meta == META
    assert type(loaded) is type(policy) is POLICIES[policy.kind]
    assert loaded.config() == policy.config()
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    samples = [p.sample(MIXED, 9, torch.Generator().manual_seed(0)) for p in (policy, loaded)]
    assert torch.equal(*samples)
    assert [file.name for file in tmp_path.iterdir()] == ["policy.safetensors"]


def test_a_loaded_policy_trains_all_its_weights(tmp_path):
    save_policy(tmp_path / "p", ShrinkagePolicy(FEATURES, hidden=6), META)
    loaded, _ = load_policy(tmp_path / "p")
    steps = make_steps([-1] * 3)
    before = loaded.log_prob(steps, torch.tensor([[1, 2, 3]]))[0]
    before.sum().backward()
    with torch.no_grad():
        for parameter in loaded.parameters():
            if parameter.grad is not None:
                parameter += 0.1 * parameter.grad
    assert loaded.log_prob(steps, torch.tensor([[1, 2, 3]]))[0].item() > before.item()


def test_wrong_kind_or_feature_set(tmp_path):
    path = tmp_path / "p.safetensors"
    save_policy(path, RemovalPolicy(FEATURES, hidden=6), META)
    with pytest.raises(InputError, match="must be of kind shrinkage, but is removal"):
        load_policy(path, kind="shrinkage")
    with pytest.raises(InputError, match="feature set 'raw', but reads 'normalised'"):
        load_policy(path, features="raw")


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_file(tmp_path, kept):
    path = tmp_path / "p.safetensors"
    save_policy(path, RemovalPolicy(FEATURES, hidden=6), META)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)] if kept == 0.5 else data[:kept])
    with pytest.raises(InputError) as caught:
        load_policy(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def header_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["hwn2n-policy"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h, t: h.update(format=2), "format 1, but this has 2"),
        (lambda h, t: h.update(kind="oracle"), "but is oracle"),
        (lambda h, t: h.update(kind=["removal"]), "must be of kind"),
        (lambda h, t: h.update(meta=[1]), "`meta`"),
        (lambda h, t: h.update(config=3), "`config`"),
        (lambda h, t: h["config"].update(hidden=7), "must have shape"),
        (lambda h, t: h["config"].update(hidden=10**12), "hidden must be"),
        (lambda h, t: h["config"].update(layers=10**9), "layers must be"),
        (lambda h, t: h["config"].update(__class__=1), "no removal policy has"),
        (lambda h, t: t.pop("output.bias"), "'output.bias' must have shape (2,), but has None"),
        (lambda h, t: t["output.bias"].fill_(math.nan), "finite"),
        (lambda h, t: t.update({"output.bias": t["output.bias"].half()}), "float16"),
        (lambda h, t: t.update({"output.bias": t["output.bias"].double()}), "one type"),
    ],
)
def test_files_that_do_not_hold_together(tmp_path, change, words):
    path = tmp_path / "p.safetensors"
    policy = RemovalPolicy(FEATURES, hidden=6)
    save_policy(path, policy, META)
    header = header_of(path)
    tensors = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    change(header, tensors)
    save_file(tensors, path, metadata={"hwn2n-policy": json.dumps(header)})
    with pytest.raises(InputError) as caught:
        load_policy(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_missing_and_unwritable_files(tmp_path):
    path = tmp_path / "p.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="must have metadata"):
        load_policy(path)
    save_file({"w": torch.zeros(2)}, path, metadata={"hwn2n-policy": "[" * 100_000})
    with pytest.raises(InputError, match="must have metadata"):
        load_policy(path)
    torch.save(RemovalPolicy(FEATURES).state_dict(), path)
    with pytest.raises(InputError, match="must be a safetensors file"):
        load_policy(path)
    with pytest.raises(InputError, match="readable"):
        load_policy(tmp_path / "none")
    with pytest.raises(InputError, match=r"readable|safetensors"):
        load_policy(tmp_path)
    with pytest.raises(InputError, match="writable"):
        save_policy(tmp_path / "no" / "p", RemovalPolicy(FEATURES), META)
    with pytest.raises(InputError, match="'features'"):
        save_policy(path, RemovalPolicy(FEATURES), {})


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.safetensors"
    save_policy(path, RemovalPolicy(FEATURES, hidden=6), META)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save_policy(path, RemovalPolicy(FEATURES, hidden=6), META)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.safetensors"]
