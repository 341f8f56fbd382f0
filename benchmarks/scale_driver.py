"""What of a candidate only the driver does, and what a worker is given."""

from __future__ import annotations

import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.actions import ShrinkageStage
from hwn2n.search.assemble import Workbench
from hwn2n.search.executors.kit import Kit
from hwn2n.search.executors.options import RayOptions
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.policies import ShrinkagePolicy
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.reinforce import Learner, ReinforceSettings

PLANNED = 20
EMPTY_TASKS = 400
ROWS = (1_000, 10_000, 100_000)


def driver_parts(bench: Workbench) -> dict[str, Any]:
    """Milliseconds of a candidate, by what takes them; a kit's size and its making."""
    stage = ShrinkageStage(bench.planner, frozenset(), features=bench.settings.features)
    how = bench.settings.shrinkage
    torch.manual_seed(0)
    policy = ShrinkagePolicy(stage.steps.features.shape[1], how.hidden, how.layers)
    generator = torch.Generator().manual_seed(0)
    learner = Learner(policy, ReinforceSettings(lr=how.lr))
    sampled = _seconds(lambda: policy.sample(stage.steps, PLANNED, generator)) / PLANNED
    actions = policy.sample(stage.steps, PLANNED, generator)
    rewards = [0.1 * i for i in range(PLANNED)]
    learnt = _seconds(lambda: learner.update(stage.steps, actions, rewards)) / PLANNED
    decisions = [stage.decision(row) for row in actions.tolist()]
    bench.evaluator.plan(decisions[0])
    planned = [_seconds(lambda d=d: bench.evaluator.plan(d)) for d in decisions]  # type: ignore[misc]
    kit = Kit.of(bench.evaluator.workshop)
    packed = pickle.dumps(kit)
    made = _seconds(lambda: pickle.loads(packed).school())
    given = _task_bytes(bench, decisions[0])
    return {
        "sample_ms": round(1000 * sampled, 2),
        "plan_ms": round(1000 * statistics.median(planned), 2),
        "plan_ms_max": round(1000 * max(planned), 2),
        "learn_ms": round(1000 * learnt, 2),
        "hand_out_ms": round(1000 * _empty_task(), 2),
        "task_kB": round(given / 1000, 1),
        "kit_MB": round(len(packed) / 1e6, 2),
        "kit_of_it_data_MB": round(kit.train.images.nbytes / 1e6, 2),
        "make_school_s": round(made, 3),
    }


def _task_bytes(bench: Workbench, decision: Decision) -> int:
    proposal = Proposal(decision=decision, place=Place("shrinkage", 0, 0))
    work = bench.evaluator._begin(proposal, 0.0)
    [task] = bench.evaluator._tasks([work])
    return len(pickle.dumps(task))


def _seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def nothing(payload: bytes) -> bytes:
    """A task that is no work."""
    return payload[:100]


def _empty_task() -> float:
    """Seconds of one of many tasks that take no time: handing out, moving, collecting."""
    cluster = RayCluster(RayOptions(), lambda text: None)
    try:
        run = cluster.remote(nothing, num_cpus=1)
        payload = bytes(20_000)
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


def ledger_parts() -> list[dict[str, Any]]:
    """Milliseconds of a row, of the standing that is reported with it, and of all rows."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger(Path(scratch) / "ledger.sqlite")
        there = 0
        for count in ROWS:
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
