"""One CPU thread for all tests, whatever a test or a command sets.

A sum that is split over another number of threads is rounded otherwise, and then the same training
gives other weights here than in the processes that some tests start.
"""

from collections.abc import Iterator

import pytest
import torch


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)
