"""How well short trainings rank networks that a full training ranks too: a table of taus."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import kendalltau

FULL = "full"
"""The training that the others are compared with, among the names of proxies."""


def table(rows: list[dict[str, Any]], proxies: Iterable[str]) -> str:
    """Markdown: a line for each proxy, over the candidates that were trained in full too.

    What a candidate is worth is the mean of its full trainings, whatever the seed of the proxy.
    The last line is what no proxy can beat: how a full training ranks them with another seed.
    """
    full = {(r["candidate"], r["seed"]): r for r in rows if r["proxy"] == FULL}
    worth = {
        candidate: statistics.mean(r["accuracy"] for (c, _), r in full.items() if c == candidate)
        for candidate, _ in full
    }
    lines = [
        "| short training | candidates | seeds | s / candidate (median) "
        "| tau (95 % interval) | tau within sizes (95 % interval) |",
        "|---|---|---|---|---|---|",
    ]
    for proxy in proxies:
        mine = [r for r in rows if r["proxy"] == proxy and r["candidate"] in worth]
        if len(mine) < 5:
            continue
        pairs = [(r["size"], r["accuracy"], worth[r["candidate"]]) for r in mine]
        lines.append(
            f"| {proxy} | {len({r['candidate'] for r in mine})} | {len({r['seed'] for r in mine})} "
            f"| {statistics.median(r['seconds'] for r in mine):.1f} "
            f"| {_with_interval(pairs, within=False)} | {_with_interval(pairs, within=True)} |"
        )
    again = [
        (r["size"], r["accuracy"], full[candidate, seed + 1]["accuracy"])
        for (candidate, seed), r in full.items()
        if (candidate, seed + 1) in full
    ]
    if len(again) >= 5:
        seconds = statistics.median(r["seconds"] for r in full.values())
        lines.append(
            f"| in full, with the next seed | {len(again)} | 2 | {seconds:.1f} "
            f"| {_with_interval(again, within=False)} | {_with_interval(again, within=True)} |"
        )
    return "\n".join(lines)


def _with_interval(pairs: list[tuple[float, float, float]], *, within: bool) -> str:
    value = tau(pairs, within=within)
    generator = np.random.default_rng(0)
    again = []
    for _ in range(500):
        drawn = [pairs[i] for i in generator.integers(len(pairs), size=len(pairs))]
        again.append(tau(drawn, within=within))
    known = [x for x in again if not np.isnan(x)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (float("nan"),) * 2
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def tau(pairs: list[tuple[float, float, float]], *, within: bool) -> float:
    """Kendall's tau-b of (group, a, b); `within`: the mean over the groups by their size."""
    if not within:
        return float(kendalltau([a for _, a, _ in pairs], [b for _, _, b in pairs]).statistic)
    values, weights = [], []
    for group in {g for g, _, _ in pairs}:
        mine = [(a, b) for g, a, b in pairs if g == group]
        if len(mine) >= 3:
            found = kendalltau([a for a, _ in mine], [b for _, b in mine]).statistic
            if not np.isnan(found):
                values.append(float(found))
                weights.append(len(mine))
    return float(np.average(values, weights=weights)) if values else float("nan")
