"""What is around a measurement: garbage collection, threads and CPUs."""

import gc
import os
import threading

import pytest
import torch

from hwn2n.errors import InputError
from hwn2n.hardware.latency import pinning, quiet
from hwn2n.hardware.latency.pinning import choose

linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="only Linux binds threads to CPUs"
)


def test_garbage_collection_and_threads_are_restored():
    threads = torch.get_num_threads()
    with quiet(threads + 1) as calm:
        assert (torch.get_num_threads(), gc.isenabled()) == (threads + 1, False)
        assert (calm.threads, calm.pinned) == (threads + 1, None)
    assert (torch.get_num_threads(), gc.isenabled()) == (threads, True)
    with pytest.raises(ZeroDivisionError), quiet(threads + 1):
        raise ZeroDivisionError
    assert (torch.get_num_threads(), gc.isenabled()) == (threads, True)


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with quiet():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_are_checked():
    with pytest.raises(InputError, match="threads must be at least 1; found 0"), quiet(0):
        pass


@linux
def test_all_threads_are_bound_and_all_are_restored():
    allowed = os.sched_getaffinity(0)
    go, inside, done = threading.Event(), threading.Event(), threading.Event()
    ids = []

    def wait(event):
        ids.append(threading.get_native_id())
        event.set()
        done.wait(10)

    before = threading.Thread(target=wait, args=(go,))
    before.start()
    go.wait(10)
    later = threading.Thread(target=wait, args=(inside,))
    try:
        with quiet(1, pin=True) as calm:
            later.start()
            inside.wait(10)
            assert calm.pinned is not None and len(calm.pinned) == 1
            for thread in (0, *ids):
                assert os.sched_getaffinity(thread) == set(calm.pinned)
        for thread in (0, *ids):
            assert os.sched_getaffinity(thread) == allowed
    finally:
        done.set()
        before.join()
        later.join()


@linux
def test_threads_as_many_as_cpus_have_all_of_them():
    allowed = os.sched_getaffinity(0)
    with quiet(len(allowed) + 3, pin=True) as calm:
        assert calm.pinned == tuple(sorted(allowed))
        assert os.sched_getaffinity(0) == allowed


def test_where_threads_cannot_be_bound_nothing_is_said_to_be(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with quiet(1, pin=True) as calm:
        assert calm.pinned is None


@linux
def test_a_container_that_forbids_it_is_no_error(monkeypatch):
    def forbidden(thread, cpus):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with quiet(1, pin=True) as calm:
        assert calm.pinned is None or len(calm.pinned) <= len(os.sched_getaffinity(0))


def test_ticks_of_cpus_by_hand(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 99 9 0\ncpu0 1 0 1 40 2 0\ncpu1 1 0 1 50 0 0\nintr 5\n")
    monkeypatch.setattr(pinning, "_STAT", stat)
    assert pinning._idle_ticks() == {0: 42, 1: 50}
    monkeypatch.setattr(pinning, "_STAT", tmp_path / "nothing")
    assert pinning._idle_ticks() == {}


def test_the_idlest_cpus_of_different_cores_are_chosen():
    two_threads_a_core = {0: "0,2", 2: "0,2", 1: "1,3", 3: "1,3"}
    idle = {0: 5, 1: 5, 2: 5, 3: 5}
    assert choose(idle, two_threads_a_core, 2) == (2, 3)
    assert choose(idle, two_threads_a_core, 3) == (1, 2, 3)
    # CPU 2 is busy, and so is the core that it shares with CPU 0.
    assert choose({**idle, 2: 0}, two_threads_a_core, 1) == (3,)
    assert choose({**idle, 2: 0}, two_threads_a_core, 2) == (0, 3)
    alone = {cpu: str(cpu) for cpu in range(4)}
    assert choose({0: 5, 1: 0, 2: 5, 3: 1}, alone, 2) == (0, 2)
