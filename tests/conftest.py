"""The same for all tests on all machines: one CPU thread, and no power meter.

A sum that is split over another number of threads is rounded otherwise, and then the same training
gives other weights here than in the processes that some tests start. And what a test finds must
not depend on whether the machine has a meter that root may read.
"""

from collections.abc import Iterator

import pytest
import torch

from hwn2n.hardware import local_target
from hwn2n.hardware.power import Missing


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Missing(reason="no power source: tests have none")
    monkeypatch.setattr(local_target, "find_source", lambda *_, **__: missing)
