"""What of a candidate only the driver does, and what a worker is given."""

from __future__ import annotations

import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.assemble import Workbench
from hwn2n.search.choices.actions import ShrinkageStage
from hwn2n.search.executors.kit import Kit
from hwn2n.search.executors.options import RayOptions
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.learners.reinforce import Reinforce
from hwn2n.search.learners.reports import ReinforceSettings
from hwn2n.search.policies import ShrinkagePolicy
from hwn2n.search.proposals import Place, Proposal

PLANNED = 20
EMPTY_TASKS = 400
ROWS = (1_000, 10_000, 100_000)


def driver_parts(bench: Workbench) -> dict[str, Any]:
    """Milliseconds of a candidate, by what takes them; a kit's size and its making.

    `plan_ms` is all that is done before a task is there: fitting widths to the budget, planning,
    counting. `measure_s` is one quick measurement of latency, here.
    """
    stage = ShrinkageStage(bench.planner, frozenset(), features=bench.settings.features)
    how = bench.settings.shrinkage
    torch.manual_seed(0)
    policy = ShrinkagePolicy(stage.steps.features.shape[1], how.hidden, how.layers)
    generator = torch.Generator().manual_seed(0)
    learner = Reinforce(policy, ReinforceSettings(lr=how.lr))
    sampled = _seconds(lambda: policy.sample(stage.steps, PLANNED, generator)) / PLANNED
    actions = policy.sample(stage.steps, PLANNED, generator)
    rewards = [0.1 * i for i in range(PLANNED)]
    learnt = _seconds(lambda: learner.update(stage.steps, actions, rewards)) / PLANNED
    begin = bench.evaluator._begin
    asked = [
        Proposal(decision=stage.decision(row), place=Place("shrinkage", 0, i))
        for i, row in enumerate(actions.tolist())
    ]
    begin(asked[0], 0.0)
    planned = [_seconds(lambda p=p: begin(p, 0.0)) for p in asked]  # type: ignore[misc]
    [task] = bench.evaluator._tasks([begin(asked[0], 0.0)])
    kit = Kit.of(bench.evaluator.workshop)
    packed = pickle.dumps(kit)
    made = _seconds(lambda: pickle.loads(packed).school())
    student = bench.school.student(task.architecture, task.decision, seed=0)
    protocol = bench.school.protocol("quick", bench.limits.at_first)
    shape = task.architecture.input_shape
    measured = [
        _seconds(lambda: bench.target.measure(student, shape, ["latency_p50"], protocol))
        for _ in range(3)
    ]
    return {
        "sample_ms": round(1000 * sampled, 2),
        "plan_ms": round(1000 * statistics.median(planned), 2),
        "plan_ms_max": round(1000 * max(planned), 2),
        "learn_ms": round(1000 * learnt, 2),
        "hand_out_ms": round(1000 * _empty_task(len(pickle.dumps(task))), 2),
        "task_kB": round(len(pickle.dumps(task)) / 1000, 1),
        "kit_MB": round(len(packed) / 1e6, 2),
        "kit_of_it_data_MB": round(kit.train.images.nbytes / 1e6, 2),
        "make_school_s": round(made, 3),
        "measure_s": round(statistics.median(measured), 2),
    }


def _seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def nothing(payload: bytes) -> bytes:
    """A task that is no work."""
    return payload[:100]


def _empty_task(size: int) -> float:
    """Seconds of one of many tasks of `size` bytes that take no time: out, there, and back."""
    cluster = RayCluster(RayOptions(), lambda text: None)
    try:
        run = cluster.remote(nothing, num_cpus=1)
        payload = bytes(size)
        for reference in [run(payload) for _ in range(20)]:
            cluster.result(reference)

        def all_of_them() -> None:
            waiting = [run(payload) for _ in range(EMPTY_TASKS)]
            while waiting:
                done = set(cluster.wait(waiting, block=True, room=lambda: None))
                for reference in done:
                    cluster.result(reference)
                waiting = [reference for reference in waiting if reference not in done]

        return _seconds(all_of_them) / EMPTY_TASKS
    finally:
        cluster.close()


def ledger_parts(rows: Sequence[int]) -> list[dict[str, Any]]:
    """Milliseconds of a row, of the standing that is reported with it, and of all rows, where so
    many `rows` are there."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger(Path(scratch) / "ledger.sqlite")
        there = 0
        for count in rows:
            ledger._rows("BEGIN")
            for i in range(there, count):
                ledger.add(_row(i))
            ledger._rows("COMMIT")
            there = count + 20
            added = [_seconds(lambda i=i: ledger.add(_row(i))) for i in range(count, there)]  # type: ignore[misc]
            asked = [_seconds(lambda: ledger.standing("shrinkage", 7)) for _ in range(5)]
            known = [_seconds(lambda: ledger.trainings("key7")) for _ in range(5)]
            found.append(
                {
                    "rows": count,
                    "add_ms": round(1000 * statistics.median(added), 2),
                    "standing_ms": round(1000 * statistics.median(asked), 2),
                    "trainings_of_a_key_ms": round(1000 * statistics.median(known), 3),
                    "read_all_s": round(_seconds(ledger.candidates), 2),
                    "MB": round(ledger.path.stat().st_size / 1e6, 1),
                }
            )
        ledger.close()
    return found


def _row(i: int) -> Candidate:
    return Candidate(
        stage="shrinkage",
        iteration=i // 1000,
        rollout=i % 1000,
        state=State.TRAINED,
        key=f"key{i}",
        actions=tuple(j % 10 for j in range(60)),
        decision={"removed": [], "widths": {f"layer{j}.conv": j for j in range(20)}, "kernels": {}},
        cost={name: {"value": 1e6 + i, "how": "exact"} for name in ("params", "flops")},
        accuracy=0.5,
        reward=(i * 7919 % 10_007) / 10_007,
        terms={"base": 0.5, "accuracy": 0.5, "reward": 0.5},
        satisfied=True,
        trained_accuracy=0.5,
        seconds={"plan": 0.01, "build": 0.01, "train": 1.0},
    )
