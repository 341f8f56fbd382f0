"""Connecting to Ray, or starting it on this machine, and letting go of it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwn2n.errors import InputError, one_line
from hwn2n.search.executors.options import LOCAL, RayOptions, host_and_port

CONNECT_SECONDS = 10.0
"""So long an address may take to answer at all. Ray itself would try for a minute and more."""


def import_ray() -> Any:
    """The module. Raises `InputError` where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--ray needs Ray, which is not installed here ({one_line(error)}): "
            "pip install 'hwn2n[ray]'"
        ) from error
    return ray


def connect(ray: Any, options: RayOptions) -> None:
    """Make this process a driver on the cluster of the options, starting a local one.

    Raises `InputError` where there is none.
    """
    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    # What a task raised is raised here in its turn; Ray would print all others as well.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    if options.address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked
        how["include_dashboard"] = False
        how["_system_config"] = {
            # Processes that nobody needs yet would start beside the teacher's measurement.
            "prestart_worker_first_driver": False,
            # Ray's 15 lets trainings starve beside other work, which they do not in this process.
            "worker_niceness": 0,
        }
    try:
        _knock(options.address)
        with _handlers_kept(), _path_handed_on(options):
            ray.init(address=options.address, **how)
    except Exception as error:
        raise InputError(
            f"--ray {options.address} must be a Ray cluster that can be reached from here, but: "
            f"{one_line(error)}"
        ) from error


def disconnect(ray: Any) -> None:
    """Leave the cluster; a local one ends."""
    with _handlers_kept():
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens."""
    place = host_and_port(address)
    if place is not None:
        socket.create_connection(place, timeout=CONNECT_SECONDS).close()


@contextmanager
def _path_handed_on(options: RayOptions) -> Iterator[None]:
    """Workers on this machine find the modules that this process finds, a teacher's among them."""
    before = os.environ.get("PYTHONPATH")
    if options.address == LOCAL:
        places = dict.fromkeys(str(Path(place).absolute()) for place in sys.path)
        os.environ["PYTHONPATH"] = os.pathsep.join(places)
    try:
        yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before
        elif options.address == LOCAL:
            del os.environ["PYTHONPATH"]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts its own handler for SIGTERM in place of whatever is there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
