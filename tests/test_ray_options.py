"""What can be said about Ray, and what happens where it is not installed."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import small
from cli_tools import hwn2n

from hwn2n.errors import InputError
from hwn2n.search.executors import RayOptions, ray_options
from hwn2n.search.executors.options import host_and_port
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.executors.ray_worker import not_loaded


def test_options() -> None:
    RayOptions(address="head:6379")
    assert host_and_port("head:6379") == ("head", 6379)
    assert host_and_port("[::1]:6379") == ("::1", 6379)
    assert [host_and_port(a) for a in ("local", "auto", "head:", ":1", "a:0")] == [None] * 5
    assert ray_options(None) is None
    assert ray_options("local") == RayOptions()
    given = RayOptions(address="auto", gpus=0.25, cpus=1, measure_resource="jetson")
    assert ray_options(given) is given
    for gpus in (0, 0.5, 1, 2):
        RayOptions(gpus=gpus)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"address": ""}, "--ray must be local, auto or HOST:PORT, but is ''"),
        ({"address": "head"}, "--ray must be local, auto or HOST:PORT, but is 'head'"),
        ({"address": "head:99999"}, "--ray must be local, auto or HOST:PORT, but is 'head:99999'"),
        ({"address": "ray://head:10001"}, "but is 'ray://head:10001', which is for clients"),
        ({"gpus": 1.5}, "--ray-gpus must be a fraction below 1 or a whole number, but is 1.5"),
        ({"gpus": -0.5}, "--ray-gpus must be .* but is -0.5"),
        ({"gpus": float("nan")}, "--ray-gpus must be .* but is nan"),
        ({"gpus": float("inf")}, "--ray-gpus must be .* but is inf"),
        ({"cpus": 0}, "--ray-cpus must be above 0, but is 0"),
        ({"measure_resource": "jetson"}, "must come with the address of a cluster"),
        ({"address": "auto", "measure_resource": "GPU"}, "must be a custom resource .* 'GPU'"),
    ],
)
def test_options_that_cannot_be_used(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RayOptions(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray-gpus", "0.5"], "--ray-gpus must come with --ray local or --ray HOST:PORT"),
        (["--ray-measure-resource", "x"], "--ray-measure-resource must come with --ray"),
        (["--ray", "local", "--ray-gpus", "1.5"], "--ray-gpus must be a fraction below 1"),
        (["--ray", ""], "--ray must be local, auto or HOST:PORT, but is ''"),
    ],
)
def test_the_command_line_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = hwn2n("compress", "t.pt", "--data", "digits", "--out", tmp_path / "run", *arguments)
    assert done.code == 2 and message in done.err and not (tmp_path / "run").exists()


def test_ray_may_stand_beside_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))  # it is not used before that
    done = hwn2n("compress", "--resume", tmp_path, "--ray", "local", "--ray-cpus", "1")
    assert done.code == 2 and "must be the folder of a run" in done.err


def test_without_ray_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--ray needs Ray, .* pip install 'hwn2n\[ray\]'"):
        small.compress(tmp_path / "run", ray="local")
    assert not (tmp_path / "run").exists()
    small.compress(tmp_path / "run", recipe=small.settings(removal__updates=0, anchor=True))


class Interrupted:
    """A Ray in whose `wait` a handler of signals raises, which it reports as the cause."""

    def wait(self, *_: object, **__: object) -> object:
        raise SystemError("wait returned a result with an exception set") from KeyboardInterrupt()


def test_a_second_ctrl_c_inside_of_ray_is_one() -> None:
    cluster = object.__new__(RayCluster)
    cluster.ray = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        cluster.wait(["task"], block=True, room=lambda: None)


def test_what_a_node_cannot_load_is_one_line() -> None:
    text = (
        "System error: x\ntraceback: Traceback:\n  File\nModuleNotFoundError: No module 'net'\n\n"
    )
    assert str(not_loaded(RuntimeError(text), "node7")) == (
        "each node of the Ray cluster must be able to load what the driver sends, but node7 is "
        "not: ModuleNotFoundError: No module 'net'"
    )


def test_only_the_result_is_on_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says on stdout that it lost a worker."""

    def compress(*_: object, **__: object) -> object:
        print("(raylet) a worker died")
        raise InputError("enough")

    monkeypatch.setattr("hwn2n.commands.compress.compress", compress)
    done = hwn2n("compress", "t.pt", "--data", "digits", "--ray", "local")
    assert (done.code, done.out) == (2, "") and "raylet" in done.err
