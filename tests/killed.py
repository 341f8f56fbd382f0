"""A compression that ends itself at a named point; a script, so that it is a process of its own.

killed.py FOLDER [POINT]           begin the run, or go on with it, until POINT
killed.py FOLDER --each POINT...   for each point: a run in FOLDER/POINT that ends there, then
                                   going on with it; each in a process of its own (fork)

With HWN2N_TEST_SEARCH=masked in the environment the search has masks, and imitates.

Prints for each point the two exit codes, minus the signal for a process that was killed.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import small
import torch

import hwn2n
import hwn2n.commands.result as result_module
import hwn2n.exporting.formats as export_module
import hwn2n.search.assemble as assemble_module
from hwn2n.errors import Hwn2nError
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Silent
from hwn2n.run.stop import Stop
from hwn2n.search.school import School


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hook(owner: Any, name: str, nth: int, act: Callable[[], None], *, before: bool) -> None:
    """Let `act` run before or after the nth call of a function."""
    original, calls = getattr(owner, name), [0]

    def hooked(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if before and calls[0] == nth:
            act()
        value = original(*args, **kwargs)
        if not before and calls[0] == nth:
            act()
        return value

    setattr(owner, name, hooked)


def torn(owner: Any, name: str, nth: int) -> None:
    """Let the nth call of a function that writes a file write half of it and die."""
    original, calls = getattr(owner, name), [0]

    def half(content: Any, path: Any, **kwargs: Any) -> None:
        calls[0] += 1
        if calls[0] < nth:
            original(content, path, **kwargs)
            return
        whole = io.BytesIO()
        original(content, whole, **kwargs)
        data = whole.getvalue()[: len(whole.getvalue()) // 2]
        if isinstance(path, Path):
            path.write_bytes(data)
        else:
            path.write(data)
            path.flush()
        die()

    setattr(owner, name, half)


def interrupt(times: int) -> Callable[[], None]:
    """Ctrl-C while the second candidate is in training."""

    def act() -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    return lambda: hook(School, "train_briefly", 2, act, before=True)


def torn_result() -> None:
    """Die in the middle of writing `result.json`."""

    def half(path: Path, data: Any) -> None:
        path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text('{"folder": ')
        die()

    result_module.write_json = half


def slow() -> None:
    """Say that a candidate is in training, and give the one who waits for it time to signal."""
    print("training", flush=True)
    time.sleep(1.0)


POINTS: dict[str, Callable[[], None]] = {
    "never": lambda: None,
    "before-teacher-cost": lambda: hook(assemble_module, "full_cost", 1, die, before=True),
    "in-training": lambda: hook(School, "train_briefly", 2, die, before=False),
    "after-row-5": lambda: hook(Ledger, "add", 5, die, before=False),
    "before-checkpoint": lambda: hook(Ledger, "add_update", 2, die, before=False),
    "in-checkpoint-1": lambda: torn(torch, "save", 1),
    "after-search": lambda: hook(School, "train_fully", 1, die, before=True),
    "in-final-epoch-2": lambda: torn(torch, "save", 6),
    "after-final-epoch-3": lambda: hook(Silent, "epoch", 3, die, before=False),
    "in-export": lambda: torn(export_module, "save", 1),
    "in-result": torn_result,
    "ctrl-c": interrupt(1),
    "ctrl-c-twice": interrupt(2),
    "slow": lambda: hook(School, "train_briefly", 2, slow, before=True),
}


SEARCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked": {
        "mask": True,
        "project": False,
        "imitate": 2,
        "imitate_weight": 0.5,
        "runoff": 2,
        "removal__updates": 1,
        "shrinkage__updates": 2,
        "final__epochs": 1,
    },
}


def run(folder: Path) -> None:
    """Begin or go on."""
    changes = SEARCHES[os.environ.get("HWN2N_TEST_SEARCH", "plain")]
    stop = Stop()
    given = {"data": small.small_data(), "target": small.CalmTarget(), "stop": stop}
    with stop.on_ctrl_c():
        if (folder / "config.json").exists():
            hwn2n.resume(folder, model=small.small_teacher(), **given)
        else:
            hwn2n.compress(
                small.small_teacher(),
                budget=small.BUDGET,
                # by the paper's reward hardly two candidates earn the same
                recipe=small.settings(seed=3, formula="paper", **changes),
                out=folder,
                reporter=Silent(),
                **given,
            )


def forked(work: Callable[[], None]) -> int:
    """Do it in a child; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(error.exit_code if isinstance(error, Hwn2nError) else 99)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up() -> None:
    """Let torch import and prepare what a run needs, once and not in each child."""
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "run")
    gc.freeze()


def killed(folder: Path, point: str) -> None:
    POINTS[point]()
    run(folder)


def main(folder: Path, arguments: list[str]) -> int:
    torch.set_num_threads(1)  # a fork does not survive a pool of threads
    small.small_teacher()  # once, and not in each child
    import hwn2n.reporting.report  # noqa: F401  so is plotly

    if arguments[:1] == ["--each"]:
        warm_up()
        for point in arguments[1:]:
            place = folder / point
            first = forked(lambda place=place, point=point: killed(place, point))
            second = forked(lambda place=place: run(place))
            print(f"{point} {first} {second}", flush=True)
        return 0
    for point in arguments:
        POINTS[point]()
    try:
        run(folder)
    except Hwn2nError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
