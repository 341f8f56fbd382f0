"""From what was measured on one machine to 1,000 GPUs: arithmetic and no measurement.

An update of B candidates on W workers with trainings of t seconds takes

    B d + makespan,   makespan = B t / (W s)

d: what the driver does for a candidate: sampling, planning and learning, while nothing trains, and
handing out and the rows of the ledger, which overlap with trainings, so that this is rather too
much. s: the share of the workers' time that is training while the update waits for its last
candidate (`barrier`). The workers' busy share of all time is B t / W over that sum.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from typing import Any

UPDATES = [(5, 5), (16, 16), (128, 128), (1000, 1000), (4000, 1000)]
"""(candidates of an update, workers)."""
TRAININGS_S = (10.0, 60.0, 600.0)
"""Seconds of a candidate's training: assumed, not measured."""
GPUS_OF_A_NODE = 8
GBIT_S = 10.0
"""Of a node's network: assumed."""
DRAWS = 20

Row = dict[str, Any]


def barrier(name: str, trained: list[float], seed: int) -> list[Row]:
    """The share of the workers' time that is training, where the next free one takes the next."""
    return [_barrier(name, trained, candidates, workers, seed) for candidates, workers in UPDATES]


def _barrier(name: str, trained: list[float], candidates: int, workers: int, seed: int) -> Row:
    generator = random.Random(seed)
    shares = []
    for _ in range(DRAWS):
        free = [0.0] * workers
        drawn = generator.choices(trained, k=candidates)
        for seconds in drawn:
            heapq.heapreplace(free, free[0] + seconds)
        shares.append(sum(drawn) / (workers * max(free)))
    return {
        "teacher": name,
        "candidates_of_an_update": candidates,
        "workers": workers,
        "busy_share": round(statistics.mean(shares), 3),
        "slowest_by_mean": round(max(trained) / statistics.mean(trained), 2),
    }


def plan(found: dict[str, list[Row]]) -> list[Row]:
    """Rows by update and length of training, for the largest teacher that was measured."""
    driver = found["driver"][-1]
    shares = [row for row in found["barrier"] if row["teacher"] == driver["teacher"]]
    each = driver_ms(driver, found["ledger"][-1]) / 1000
    rows = []
    for share, seconds in itertools.product(shares, TRAININGS_S):
        candidates, workers = share["candidates_of_an_update"], share["workers"]
        if workers < UPDATES[1][1]:
            continue
        training = candidates * seconds / workers
        makespan = training / share["busy_share"]
        serial = candidates * each
        nodes = math.ceil(workers / GPUS_OF_A_NODE)
        rows.append(
            {
                "workers": workers,
                "candidates_of_an_update": candidates,
                "training_s": seconds,
                "driver_s_of_an_update": round(serial, 1),
                "waiting_s_for_the_last": round(makespan - training, 1),
                "busy_share": round(training / (serial + makespan), 3),
                "boards_to_keep_up": math.ceil(workers * driver["measure_s"] / seconds),
                "sent_MB_of_an_update": round(candidates * driver["task_kB"] / 1000, 1),
                "broadcast_once_MB": round(nodes * driver["kit_MB"], 1),
                "broadcast_s": round(nodes * driver["kit_MB"] * 8 / (1000 * GBIT_S), 2),
            }
        )
    return rows


def driver_ms(driver: Row, ledger: Row) -> float:
    """Milliseconds of a candidate in the driver, with the ledger at its longest."""
    parts = ("sample_ms", "plan_ms", "learn_ms", "hand_out_ms")
    in_ledger = sum(ledger[name] for name in ("add_ms", "standing_ms", "trainings_of_a_key_ms"))
    return float(sum(driver[name] for name in parts) + in_ledger)


def page(found: dict[str, list[Row]]) -> str:
    """All tables and what follows from them, as Markdown without empty lines inside a part."""
    driver, ledger = found["driver"][-1], found["ledger"][-1]
    each = driver_ms(driver, ledger)
    largest = max(("plan_ms", "learn_ms", "sample_ms", "hand_out_ms"), key=lambda n: driver[n])
    far = [row for row in found["plan"] if row["workers"] == max(UPDATES)[1]]
    worst, best = (pick(far, key=lambda r: r["busy_share"]) for pick in (min, max))
    facts = (
        f"With {driver['teacher']} as the teacher the driver spends {each:.1f} ms on a candidate, "
        f"most of it on `{largest}`, so it feeds {1000 / each:,.0f} candidates a second, and "
        f"workers in the number of that times the seconds of a training. On {worst['workers']:,} "
        f"workers they train for {worst['busy_share']:.0%} of the time where a training takes "
        f"{worst['training_s']:g} s, and for {best['busy_share']:.0%} where it takes "
        f"{best['training_s']:g} s."
    )
    parts = [_titled(name, rows) for name, rows in found.items() if name != "plan"]
    return "\n\n".join([*itertools.chain(*parts), *_titled("plan", found["plan"]), facts])


def _titled(name: str, rows: list[Row]) -> list[str]:
    return [f"**{name}**", table(rows)]


def table(rows: list[Row]) -> str:
    """Markdown; columns in the order of the first row."""
    names = list(dict.fromkeys(itertools.chain(*rows)))
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|" + "---|" * len(names))
    for row in rows:
        cells = [row.get(name) for name in names]
        lines.append("| " + " | ".join("" if c is None else _cell(c) for c in cells) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
