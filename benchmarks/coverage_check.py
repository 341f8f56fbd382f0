"""What hwn2n is asked to do with one network: capture it, and make random students of it.

python -m benchmarks.coverage_check --source torchvision --model resnet18 --out FILE
"""

from __future__ import annotations

import gc
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.coverage_zoo import build, check_one, exports, image_shape
from hwn2n.errors import Hwn2nError, one_line
from hwn2n.hardware.counts import count as fvcore_count
from hwn2n.network.architecture import IllegalArchitectureError, owner
from hwn2n.network.capture import Captured, capture
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import Granularity, find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.operators import rule
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.fitting.widths import Widths

DECISIONS = 20
"""Random decisions of each kind."""

GRANULARITIES: tuple[Granularity, ...] = ("unit", "block")


def width_decision(planner: Planner, rng: random.Random) -> Decision:
    """A random share of every width and kernel, and nothing removed."""
    widths = {
        name: Widths().nearest(group, rng.choice(SHRINK_VALUES))
        for name, group in planner.channels.groups.items()
        if not group.frozen
    }
    kernels = {}
    shares: dict[str, float] = {}
    for op in planner.teacher:
        if op.name in planner.free_kernels():
            share = shares.setdefault(owner(op), rng.choice(SHRINK_VALUES))
            height, width = op.config["kernel_size"]
            kernels[op.name] = (smaller_kernel(height, share), smaller_kernel(width, share))
    return Decision(frozenset(), widths, kernels)


def removal_decision(
    planner: Planner, layers: dict[str, list[tuple[str, ...]]], rng: random.Random
) -> Decision:
    """Some layers, or some residual branches, at full width.

    What cannot be built is illegal to the search too, and drawn again, with fewer removals; that
    no single layer that is offered is illegal was found out before. So is what has more parameters
    than the teacher (of a densely connected network without its bottlenecks, several times as
    many): the search never builds that.
    """
    whole = count(planner.teacher).params
    kinds = [kind for kind, found in layers.items() if found]
    chosen = layers[rng.choice(kinds)] if kinds else []
    share = rng.uniform(0.05, 0.5)
    for _ in range(50):
        removed = {name for operations in chosen if rng.random() < share for name in operations}
        decision = Decision(removed=frozenset(removed))
        try:
            params = count(planner.plan(decision)).params
        except IllegalArchitectureError:
            params = whole + 1
        if params <= whole:
            return decision
        share *= 0.9
    return NOTHING


def try_student(
    captured: Captured,
    planner: Planner,
    inheritance: Inheritance,
    decision: Decision,
) -> str | None:
    """Build, run forward and backward, and count; the reason why not, or None."""
    try:
        plan = planner.plan(decision)
        student = instantiate_with(plan, inheritance.weights(plan, decision, seed=0))
        student.train()
        logits = student(torch.randn((2, *plan.input_shape)))
        logits.square().mean().backward()
        if any(p.grad is None for p in student.parameters() if p.requires_grad):
            return "a parameter got no gradient"
        student.zero_grad()
        student.eval()
        planned, found = count(plan), fvcore_count(student, torch.randn((1, *plan.input_shape)))
        if (planned.params, planned.flops) != (found.params, found.flops):
            return (
                f"counts differ: {planned.params} and {planned.flops} planned, {found.params} and "
                f"{found.flops} of fvcore"
            )
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    finally:
        student = logits = None
        gc.collect()  # a graph's nodes hold each other, and with them gigabytes of weights
    return None


def reachable_share(planner: Planner) -> dict[str, float]:
    """Which part of params and FLOPs the policies can reach by widths alone, and with removals.

    The share that the smallest widths (one unit each) save; and that of the parameters which
    belong to a removable layer or branch, or to a width that is not frozen.
    """
    whole = count(planner.teacher)
    least = {g.name: g.step for g in planner.channels.groups.values() if not g.frozen}
    small = count(planner.plan(Decision(widths=least)))
    removable = {
        name
        for granularity in GRANULARITIES
        for layer in find_layers(planner, granularity)
        if layer.removable
        for name in layer.operations
    }
    touched = touched_by_widths(planner)
    reached = sum(
        rule(op).parameters(op)
        for op in planner.teacher
        if "tied_to" not in op.config and (op.name in removable or op.name in touched)
    )
    return {
        "params_by_widths": 1 - small.params / whole.params,
        "flops_by_widths": 1 - small.flops / whole.flops,
        "params": reached / whole.params,
    }


def touched_by_widths(planner: Planner) -> set[str]:
    """Operations that change when some width does."""
    names = set()
    for op in planner.teacher:
        layouts = [planner.channels.layouts[name] for name in (op.name, *op.inputs)]
        parts = [part for layout in layouts if layout for part in layout.parts]
        groups = [planner.channels.group_of(part) for part in parts]
        if any(group is not None and not group.frozen for group in groups):
            names.add(op.name)
    return names


def freezing(planner: Planner) -> list[tuple[str, int]]:
    """Reasons for frozen groups without the names of layers, the most frequent first."""
    reasons: Counter[str] = Counter()
    for group in planner.channels.groups.values():
        if group.frozen:
            text = group.frozen
            reasons[" ".join(word for word in text.split() if not _is_name(word))] += 1
    return reasons.most_common()


def _is_name(word: str) -> bool:
    named = "." in word or "_" in word or any(letter.isdigit() for letter in word)
    return named and not word.startswith("aten.")


def check(source: str, name: str, *, with_export: bool) -> dict[str, Any]:
    """All checks of one network as one row."""
    row: dict[str, Any] = {"model": name, "captured": False}
    seconds: dict[str, float] = {}

    def timed(what: str, do: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        try:
            return do()
        finally:
            seconds[what] = round(time.perf_counter() - started, 2)

    try:
        model = build(source, name)
        shape = image_shape(model)
        row |= {"image": shape[1], "params": sum(p.numel() for p in model.parameters())}
        captured: Captured = timed("capture", partial(capture, model, shape))
        planner = timed("relate", lambda: Planner(captured.architecture))
        inheritance = Inheritance(captured, planner)
        plan = planner.plan(NOTHING)
        whole = instantiate_with(plan, inheritance.weights(plan, NOTHING, seed=0))
        x = torch.randn((2, *shape), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            row["difference"] = (whole(x) - model(x)).abs().max().item()
        del whole, model  # the largest have gigabytes of weights
    except (Hwn2nError, ValueError) as error:
        return row | {"error": one_line(error), "seconds": seconds}
    row |= {"captured": True, "operations": len(captured.architecture)}
    row["counts"] = try_student(captured, planner, inheritance, NOTHING)
    row["reachable"] = reachable_share(planner)
    row["freezing"] = freezing(planner)
    row["groups"] = len(planner.channels.groups)
    rng = random.Random(name)
    layers = timed(
        "layers",
        lambda: {
            granularity: [x.operations for x in find_layers(planner, granularity) if x.removable]
            for granularity in GRANULARITIES
        },
    )
    row["removable"] = {key: len(value) for key, value in layers.items()}
    widths = [width_decision(planner, rng) for _ in range(DECISIONS)]
    removals = [removal_decision(planner, layers, rng) for _ in range(DECISIONS)]
    for key, decisions in (("widths", widths), ("removals", removals)):
        reasons = timed(
            key,
            lambda decisions=decisions: [  # type: ignore[misc]
                try_student(captured, planner, inheritance, decision) for decision in decisions
            ],
        )
        failed = [reason for reason in reasons if reason]
        row[key] = {"passed": DECISIONS - len(failed), "failed": Counter(failed).most_common(3)}
    if with_export:
        plan = planner.plan(widths[0])
        student = instantiate_with(plan, inheritance.weights(plan, widths[0], seed=0)).eval()
        row["onnx"] = timed("onnx", lambda: exports(student, plan.input_shape)) or "passed"
    row["seconds"] = seconds
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


if __name__ == "__main__":
    check_one(check, __doc__)
