"""The same for all tests on all machines: one CPU thread, short clocks, and no power meter.

A sum that is split over another number of threads is rounded otherwise, and then the same training
gives other weights here than in the processes that some tests start. And what a test finds must
not depend on whether the machine has a meter that root may read.

All tests but those that ask for `unhurried` measure for tenths of a second (see brief.py).
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from brief import BRIEF, LONGEST_WARMUP_S, SHIPPED, set_clocks
from cli_tools import BUDGET, SHORT, Outcome, hwn2n, taught

from hwn2n.hardware import local_target
from hwn2n.hardware.power import Missing

if TYPE_CHECKING:
    from ray_nodes import Nodes


def pytest_configure() -> None:
    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    gc.freeze()  # or each collection of garbage goes over all of torch


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or onnx's bindings complain of leaks at exit


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


# Of the session, since fixtures of a module are made before those of a test.
@pytest.fixture(autouse=True, scope="session")
def no_meter() -> Iterator[None]:
    missing = Missing(reason="no power source: tests have none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_target, "find_source", lambda *_, **__: missing)
        yield


@pytest.fixture(autouse=True, scope="session")
def short_clocks() -> Iterator[None]:
    set_clocks(BRIEF, LONGEST_WARMUP_S)
    yield
    set_clocks(*SHIPPED)


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Nodes"]:
    """A cluster of four nodes (see ray_nodes.py)."""
    from ray_nodes import running

    yield from running(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def nodes(ray_nodes: "Nodes") -> "Nodes":
    """The same, and no traces."""
    import watched

    watched.forget()
    return ray_nodes


@pytest.fixture
def unhurried() -> Iterator[None]:
    """The clocks that users get."""
    set_clocks(*SHIPPED)
    yield
    set_clocks(BRIEF, LONGEST_WARMUP_S)


@pytest.fixture(scope="session")
def digits_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the digits, in a file that every test leaves as it is."""
    return taught(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="session")
def digits_run(
    digits_teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """It compressed: the folder, which every test leaves as it is, and what was said."""
    run = tmp_path_factory.mktemp("compressed") / "run"
    outcome = hwn2n(
        "compress", digits_teacher, "--budget", BUDGET, "--data", "digits", "--out", run, *SHORT
    )
    assert outcome.code == 0, outcome.err
    return run, outcome


@pytest.fixture
def logits_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A teacher's logits are kept however few they are, in an empty cache folder of the test."""
    monkeypatch.setenv("HWN2N_CACHE", str(tmp_path))
    monkeypatch.setattr("hwn2n.distil.logits._LEAST_IMAGES", 1)
