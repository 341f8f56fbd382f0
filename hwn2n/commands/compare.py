"""`hwn2n compare`: is network B faster or slower than network A on a target?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from hwn2n.commands.subject import Model, load_subject, shape_of, target_of
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.conditions import conditions
from hwn2n.hardware.latency import Comparison, Quiet, Sampler, quiet
from hwn2n.hardware.latency import compare as compare_latencies
from hwn2n.hardware.latency.compare import MARGIN, MAX_SECONDS
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.target import Target
from hwn2n.hardware.throttle import ThrottleMonitor
from hwn2n.network.files import Teacher
from hwn2n.run.provenance import provenance

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two networks side by side on one target.

    `found` has the ratio of their latencies and what can be said of it; `input_shape` is (C, H, W)
    of one image, `batch` images make one inference. `quiet` says on which CPUs they ran,
    `conditions` what the machine was doing before and after, `machine` is the target's fingerprint.
    """

    a: str
    b: str
    input_shape: tuple[int, int, int]
    batch: int
    target: str
    found: Comparison
    quiet: Quiet
    conditions: dict[str, Any]
    machine: dict[str, Any]
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 done, or certainly within the limit; 1 certainly beyond it; 4 nobody can tell."""
        verdict = self.found.limit_verdict
        return 0 if verdict is None else {"within": 0, "exceeded": 1, "inconclusive": 4}[verdict]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": "hwn2n-comparison",
            "version": FORMAT_VERSION,
            "exit_code": self.exit_code,
            "a": self.a,
            "b": self.b,
            "input_shape": list(self.input_shape),
            "batch": self.batch,
            "target": self.target,
            "verdict": self.found.verdict,
            "sentence": self.found.sentence,
            "limit_sentence": self.found.limit_sentence,
            "comparison": self.found.to_json(),
            "threads": self.quiet.threads,
            "pinned": None if self.quiet.pinned is None else list(self.quiet.pinned),
            "conditions": self.conditions,
            "machine": self.machine,
            "provenance": self.provenance,
            "notes": list(self.notes),
        }


def compare(
    a: Model,
    b: Model,
    *,
    target: Target | Mapping[str, Any] | str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    arch: str | None = None,
    arch_b: str | None = None,
    unsafe_pickle: bool = False,
    batch: int | None = None,
    threads: int | None = None,
    confidence: float = 0.95,
    margin: float = MARGIN,
    max_slowdown: float | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
) -> Compared:
    """Time `a` and `b` in turns on `target` (by default the CPU of this machine).

    `a` and `b`: files as `network.files.load_teacher` reads them, or modules that map images to
    logits; `arch_b` is as `arch`, where B's differs: without it a file that says itself what B is
    needs none, and other files are of `arch`. Differences up to `margin` count as none.
    With `max_slowdown` (0.05 is 5 %), it is judged whether B is slower than A by more. It takes up
    to about `max_seconds`, and fewer where it can tell sooner.

    Raises InputError for what cannot be used, and where the networks are made for images of
    different shapes; MeasurementError where a network cannot be run, where throttling does not
    stop, and where `max_seconds` are too few.
    """
    chosen = target_of(target, batch=batch, threads=threads)
    if not isinstance(chosen, LocalTarget):
        raise InputError(
            f"networks can be compared on this machine only; found the target {chosen.name}"
        )
    if max_slowdown is not None and not max_slowdown >= 0:
        raise InputError(f"max_slowdown must be at least 0; found {max_slowdown!r}")
    load = partial(load_subject, input_shape=input_shape, unsafe_pickle=unsafe_pickle)
    first, second = load(a, arch=arch), _second(load, b, arch, arch_b)
    shape = _common_shape(first, second, input_shape)
    watched = chosen.device
    notes: dict[str, None] = {}
    before = conditions(watched)
    with quiet(chosen.settings.threads, pin=watched.type == "cpu") as calm:
        found = compare_latencies(
            partial(_ready, chosen, first.model, shape, notes),
            partial(_ready, chosen, second.model, shape, notes),
            confidence=confidence,
            margin=margin,
            limit=None if max_slowdown is None else 1 + max_slowdown,
            max_seconds=max_seconds,
            seed=seed,
            throttled=ThrottleMonitor(watched).reasons,
        )
    return Compared(
        a=first.source,
        b=second.source,
        input_shape=shape,
        batch=chosen.batch,
        target=chosen.name,
        found=found,
        quiet=calm,
        conditions={"before": before, "after": conditions(watched)},
        machine=chosen.fingerprint(),
        provenance=provenance(),
        notes=tuple(notes),
    )


def _second(
    load: Callable[..., Teacher], b: Model, arch: str | None, arch_b: str | None
) -> Teacher:
    """B, of an architecture of its own where its file names one."""
    if arch_b is None and arch is not None:
        with suppress(InputError):
            return load(b, arch=None)
    return load(b, arch=arch_b or arch)


@contextmanager
def _ready(
    target: LocalTarget, model: nn.Module, shape: tuple[int, int, int], notes: dict[str, None]
) -> Iterator[Sampler]:
    """The sampler of a new copy of `model` on the target; `notes` gets what a reader must know."""
    executable = target.executable(model, shape)
    try:
        if not executable.live:
            raise MeasurementError(
                f"networks compare only where they take turns; target {target.name} runs each in "
                "a program of its own"
            )
        if executable.note:
            notes[executable.note] = None
        yield executable.sample
    finally:
        executable.close()


def _common_shape(
    a: Teacher, b: Teacher, given: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    """(C, H, W) of the images that both are timed on: as given, or as the files say.

    Raises InputError where they say different things, and where neither says it.
    """
    if given is None and a.input_shape is None and b.input_shape is not None:
        return shape_of(b, None)
    shape = shape_of(a, given)
    if given is None and b.input_shape is not None and tuple(b.input_shape) != tuple(shape):
        raise InputError(
            f"{b.source}: its images must have the shape that those of {a.source} have, "
            f"{','.join(map(str, shape))}, but have {','.join(map(str, b.input_shape))}"
        )
    return shape
