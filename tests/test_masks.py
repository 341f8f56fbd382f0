"""What masks allow, against enumeration: every feasible sequence, and no other."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import small
import torch
from networks import planner_of
from test_search_reach import NETS, planner

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Constraints
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import (
    KEEP_ALL,
    SHRINK_VALUES,
    RemovalStage,
    ShrinkageStage,
    smaller_kernel,
)
from hwn2n.search.choices.masks import mask_for
from hwn2n.search.choices.steps import Mask, Steps
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.policies import KEEP, REMOVE, RemovalPolicy, ShrinkagePolicy, UniformPolicy
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import Settings

SHRINKS = build_settings("paper", {"mask": True})
PROJECTS = build_settings("fast", {"mask": True})
ALONE = build_settings("paper", {"mask": True, "shrinkage.updates": 0})
SMALL = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)


def limits(**at_most: int | str) -> Constraints:
    rows = [{"metric": metric, "max": limit} for metric, limit in at_most.items()]
    return load_budget({"apiVersion": "hwn2n/v1", "name": "t", "constraints": rows}).resolve({})


NO_LIMITS = Constraints(rows=())


def masked(stage: RemovalStage | ShrinkageStage, mask: Mask | None) -> Steps:
    return replace(stage.steps, mask=mask)


def sequences(mask: Mask, steps: Steps) -> set[tuple[int, ...]]:
    """All that can be sampled under the mask."""
    found: list[tuple[int, ...]] = [()]
    for t in range(len(steps)):
        longer = []
        for taken in found:
            if bool(steps.free[t]):
                may = [a for a, ok in enumerate(mask.allowed(taken)) if ok]
            else:
                forced, tied = int(steps.forced[t]), int(steps.tied[t])
                may = [forced if forced >= 0 else taken[tied]]
            longer += [(*taken, action) for action in may]
        found = longer
    return set(found)


def inside(teacher: Planner, decision: Decision, rows: Constraints) -> bool:
    """As the evaluator has it: legal, something to train, not above the teacher, in the budget."""
    try:
        architecture = teacher.plan(decision)
    except IllegalArchitectureError:
        return False
    params = count(architecture).params
    cost = counted_cost(architecture)
    return 0 < params <= count(teacher.teacher).params and rows.satisfied(cost)


def legal(teacher: Planner, removed: frozenset[str]) -> bool:
    try:
        return bool(count(teacher.plan(Decision(removed))).params)
    except IllegalArchitectureError:
        return False


# ---- removal: against every set of layers


def smallest(teacher: Planner, removed: frozenset[str], *, projects: bool) -> Iterator[Decision]:
    """What the rest of the search can make of a removal at the least."""
    architecture, channels = teacher.left(removed)
    free = [group for group in channels.groups.values() if not group.frozen]
    if projects:
        yield Decision(removed, {group.name: group.step for group in free})
        return
    widths = {group.name: Widths().nearest(group, SHRINK_VALUES[0]) for group in free}
    kernels = {}
    for op in architecture:
        if op.kind == "conv2d":
            height, width = op.config["kernel_size"]
            kernels[op.name] = smaller_kernel(height, 0.1), smaller_kernel(width, 0.1)
    yield Decision(removed, widths, kernels)
    yield Decision(removed, widths)


def feasible_removals(
    teacher: Planner, stage: RemovalStage, settings: Settings, rows: Constraints
) -> set[tuple[int, ...]]:
    found = set()
    whole = count(teacher.teacher).params
    for choice in itertools.product(
        *[(REMOVE, KEEP) if free else (KEEP,) for free in stage.steps.free.tolist()]
    ):
        removed = stage.decision(choice).removed
        if not legal(teacher, removed):
            continue
        itself = Decision(removed)
        if not settings.project and count(teacher.plan(itself)).params > whole:
            continue
        forms = [itself]
        if settings.project or settings.shrinkage.updates:
            forms = list(smallest(teacher, removed, projects=settings.project))
        if any(inside(teacher, form, rows) for form in forms):
            found.add(choice)
    return found


@pytest.mark.parametrize("net", [name for name in NETS if name not in ("mid", "tied", "tokens")])
@pytest.mark.parametrize(
    "settings", [SHRINKS, PROJECTS, ALONE], ids=["shrinks", "projects", "alone"]
)
def test_removals_are_exactly_the_feasible_ones(net: str, settings: Settings) -> None:
    teacher = planner(net)
    stage = RemovalStage(teacher, features=settings.features)
    whole = count(teacher.teacher)
    kinds = set()
    for share in (0.01, 0.02, 0.1, 0.3, 0.7):
        rows = limits(params=int(whole.params * share), flops=int(whole.flops * share) + 1)
        feasible = feasible_removals(teacher, stage, settings, rows)
        mask = mask_for(stage, teacher, settings, rows)
        assert mask is not None
        found = sequences(mask, stage.steps)
        if feasible:
            assert found == feasible
        else:
            assert len(found) == 1, "the least-cost one, where nothing is inside"
        kinds.add(len(found) < 2 ** int(stage.steps.free.sum()))
    assert True in kinds, "some limit must exclude something"


def test_without_limits_only_illegal_removals_are_forbidden() -> None:
    """Plain's classifier reads 12 x 16 features; four pixels a side more make it too large."""
    teacher = planner("plain")
    stage = RemovalStage(teacher)
    mask = mask_for(stage, teacher, ALONE, NO_LIMITS)
    assert mask is not None
    found = sequences(mask, stage.steps)
    assert found == feasible_removals(teacher, stage, ALONE, NO_LIMITS)
    assert len(found) == 13, "of 16; 3 have more parameters than the teacher"
    drawn = UniformPolicy(16, 2).sample(masked(stage, mask), 300, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in drawn.tolist()} == found


# ---- shrinkage


@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_shrinkage_samples_are_inside_wherever_the_smallest_is(net: str, share: float) -> None:
    """Whatever the operators are: unpadded kernels, concatenations, shared weights, tokens."""
    teacher = planner(net)
    stage = ShrinkageStage(teacher, frozenset())
    whole = count(teacher.teacher)
    rows = limits(params=int(whole.params * share), flops=int(whole.flops * share))
    mask = mask_for(stage, teacher, SHRINKS, rows)
    policy = UniformPolicy(16, len(SHRINK_VALUES))
    drawn = policy.sample(masked(stage, mask), 25, torch.Generator().manual_seed(1))
    found = [inside(teacher, stage.decision(row), rows) for row in drawn.tolist()]
    forms = list(smallest(teacher, frozenset(), projects=False))
    possible = any(inside(teacher, form, rows) for form in forms)
    assert found == [possible] * 25
    if not possible:
        decided = [stage.decision(row) for row in drawn.tolist()]
        assert all(d == decided[0] for d in decided), "the least-cost one, where none is inside"


@pytest.mark.parametrize("net", ["chain", "plain", "mixed", "excited", "grouped", "dense"])
def test_an_action_is_allowed_if_and_only_if_the_smallest_after_it_is_inside(net: str) -> None:
    """By hand, action by action: what is left takes its least share, kernels the least or all."""
    teacher = planner(net)
    stage = ShrinkageStage(teacher, frozenset())
    whole = count(teacher.teacher)
    steps, rng = stage.steps, random.Random(0)
    free, source = steps.free.tolist(), steps.source.tolist()
    forced = [KEEP_ALL if f >= 0 else 0 for f in steps.forced.tolist()]
    seen = set()
    for share in (0.05, 0.15, 0.5):
        rows = limits(params=int(whole.params * share))
        mask = mask_for(stage, teacher, SHRINKS, rows)
        assert mask is not None
        for _ in range(2):
            taken: list[int] = []
            for t in range(len(steps)):
                if not free[t]:
                    taken.append(forced[t] if source[t] == t else taken[source[t]])
                    continue
                expected = []
                for action in range(len(SHRINK_VALUES)):
                    fits = False
                    for kernel in (0, KEEP_ALL):
                        rest = [
                            kernel if stage.variables[i][1] == "kernel" else forced[i]
                            for i in range(t + 1, len(steps))
                        ]
                        all_of_it = [*taken, action, *rest]
                        settled = [all_of_it[i] for i in source]
                        fits = fits or inside(teacher, stage.decision(settled), rows)
                    expected.append(fits)
                found = mask.allowed(tuple(taken))
                if any(expected):
                    assert list(found) == expected
                seen.add(sum(found))
                taken.append(rng.choice([a for a, ok in enumerate(found) if ok]))
    assert len(SHRINK_VALUES) in seen
    assert len(seen) > 3, "some borders must lie between"


def test_removal_before_shrinkage_leaves_a_mask_of_its_own() -> None:
    removal = RemovalStage(SMALL)
    actions = [REMOVE if name == "conv2" else KEEP for name in removal.steps.names]
    stage = ShrinkageStage(SMALL, removal.decision(actions).removed)
    assert "conv2" in stage.removed
    rows = limits(params=100)
    mask = mask_for(stage, SMALL, SHRINKS, rows)
    drawn = UniformPolicy(16, 10).sample(masked(stage, mask), 50, torch.Generator().manual_seed(0))
    assert all(inside(SMALL, stage.decision(row), rows) for row in drawn.tolist())
    assert len(drawn.unique(dim=0)) > 10


def test_lower_limits_are_left_to_the_evaluation() -> None:
    row = {"metric": "params", "min": 10**6}
    lower = load_budget({"apiVersion": "hwn2n/v1", "name": "t", "constraints": [row]}).resolve({})
    stage = ShrinkageStage(SMALL, frozenset())
    mask = mask_for(stage, SMALL, SHRINKS, lower)
    assert mask is not None
    assert mask.allowed(()) == (True,) * 10


def test_the_teachers_size_is_a_limit_without_a_budget() -> None:
    """A smaller kernel without padding leaves a larger image, and a larger classifier after it."""
    stage = ShrinkageStage(planner("grouped"), frozenset())
    mask = mask_for(stage, planner("grouped"), SHRINKS, NO_LIMITS)
    drawn = UniformPolicy(16, 10).sample(masked(stage, mask), 40, torch.Generator().manual_seed(0))
    whole = count(planner("grouped").teacher).params
    for row in drawn.tolist():
        assert count(planner("grouped").plan(stage.decision(row))).params <= whole


def test_projection_takes_the_mask_from_the_shrinkage_stage_only() -> None:
    rows = limits(params=100)
    shrinkage, removal = ShrinkageStage(SMALL, frozenset()), RemovalStage(SMALL)
    assert mask_for(shrinkage, SMALL, PROJECTS, rows) is None
    assert mask_for(removal, SMALL, PROJECTS, rows) is not None
    assert mask_for(shrinkage, SMALL, PROJECTS, NO_LIMITS) is not None, "nothing is projected"


def test_masks_do_not_depend_on_what_was_asked_before() -> None:
    """As after a resume: another object, asked in another order, says the same."""
    rows = limits(params=60)
    stage = ShrinkageStage(SMALL, frozenset())
    first, again = (mask_for(stage, SMALL, SHRINKS, rows) for _ in range(2))
    assert first is not None and again is not None
    policy = ShrinkagePolicy(stage.steps.features.shape[1])
    drawn = policy.sample(masked(stage, first), 20, torch.Generator().manual_seed(0))
    scored = [
        policy.log_prob(masked(stage, mask), rows_)[0].detach()
        for mask, rows_ in ((first, drawn), (again, drawn.flip(0)))
    ]
    torch.testing.assert_close(scored[0], scored[1].flip(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("arch", "pixels"), [("resnet20", 32), ("vgg13", 32)])
def test_teachers_of_the_paper(arch: str, pixels: int) -> None:
    """3 % of the parameters: of 50 free samples one or none is inside, of masked ones all are."""
    teacher = planner_of(arch, pixels)
    rows = limits(params=int(0.03 * count(teacher.teacher).params))
    stage = ShrinkageStage(teacher, frozenset())
    policy = UniformPolicy(16, len(SHRINK_VALUES))
    mask = mask_for(stage, teacher, SHRINKS, rows)
    drawn = policy.sample(masked(stage, mask), 5, torch.Generator().manual_seed(0))
    assert all(inside(teacher, stage.decision(row), rows) for row in drawn.tolist())
    assert len(drawn.unique(dim=0)) == 5
    plain = policy.sample(stage.steps, 20, torch.Generator().manual_seed(0))
    assert sum(inside(teacher, stage.decision(row), rows) for row in plain.tolist()) <= 4
    removal = RemovalStage(teacher)
    mask = mask_for(removal, teacher, PROJECTS, rows)
    actions = RemovalPolicy(16).sample(masked(removal, mask), 5, torch.Generator().manual_seed(0))
    for row in actions.tolist():
        removed = removal.decision(row).removed
        assert legal(teacher, removed)
        [least] = smallest(teacher, removed, projects=True)
        assert inside(teacher, least, rows)
