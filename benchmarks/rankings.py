"""How well one training ranks networks that another ranks too: taus, and least squares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from hwn2n.search.reward import expected_accuracy

FULL = "full"
"""The training that the others are compared with, among the names of proxies."""

LEAST = 5
"""Of fewer trainings nothing is said."""

WEIGHTS = (0.25, 0.5, 1.0)
"""Of the activations beside the accuracy."""


def table(
    rows: list[dict[str, Any]],
    proxies: Iterable[str],
    activations: Mapping[int, float] | None = None,
) -> str:
    """Markdown: a line for each proxy, over the candidates that were trained in full too.

    What a candidate is worth is the mean of its full trainings, whatever the seed of the proxy.
    With the `activations` of the candidates, as shares of the teacher's, there is a column for each
    of `WEIGHTS`: what is ranked then is `hwn2n.search.reward.expected_accuracy`.
    Where a short training has several seeds, the last column is how one of them ranks by the next:
    what is missing there is noise, and what is missing elsewhere beyond that is bias. The last line
    is what no proxy can beat: how a full training ranks them with another seed.
    """
    full = [r for r in rows if r["proxy"] == FULL]
    worth = {
        candidate: statistics.mean(r["accuracy"] for r in full if r["candidate"] == candidate)
        for candidate in {r["candidate"] for r in full}
    }
    proxies = list(proxies)
    seeded = {proxy: by_next_seed(rows, proxy) for proxy in (*proxies, FULL)}
    noisy = any(len(seeded[proxy]) >= LEAST for proxy in proxies)
    heads = [
        *("short training", "candidates", "seeds", "s / candidate (median)"),
        *("tau (95 % interval)", "tau within sizes (95 % interval)"),
        *(f"with activations weighed {w:g}" for w in (WEIGHTS if activations else ())),
        *(["one seed by the next, within sizes"] if noisy else []),
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for proxy in proxies:
        mine = [r for r in rows if r["proxy"] == proxy and r["candidate"] in worth]
        if len(mine) < LEAST:
            continue
        pairs = [(r["size"], r["accuracy"], worth[r["candidate"]]) for r in mine]
        cells = [
            proxy,
            str(len({r["candidate"] for r in mine})),
            str(len({r["seed"] for r in mine})),
            f"{statistics.median(r['seconds'] for r in mine):.1f}",
            *(with_interval(pairs, within=within) for within in (False, True)),
        ]
        for weight in WEIGHTS if activations else ():
            promised = [
                (r["size"], expected_accuracy(r["accuracy"], share, weight), worth[r["candidate"]])
                for r in mine
                for share in [activations[r["candidate"]]]
            ]
            cells.append(with_interval(promised, within=True))
        if noisy:
            again = seeded[proxy]
            cells.append(with_interval(again, within=True) if len(again) >= LEAST else "")
        lines.append(f"| {' | '.join(cells)} |")
    if len(again := seeded[FULL]) >= LEAST:
        seconds = statistics.median(r["seconds"] for r in full)
        cells = ["in full, with the next seed", str(len(again)), "2", f"{seconds:.1f}"]
        cells += [with_interval(again, within=within) for within in (False, True)]
        lines.append(f"| {' | '.join([*cells, *([''] * (len(heads) - len(cells)))])} |")
    return "\n".join(lines)


def by_next_seed(rows: list[dict[str, Any]], proxy: str) -> list[tuple[float, float, float]]:
    """(size, accuracy, accuracy with the next seed) of the trainings that have one."""
    mine = {(r["candidate"], r["seed"]): r for r in rows if r["proxy"] == proxy}
    return [
        (r["size"], r["accuracy"], mine[candidate, seed + 1]["accuracy"])
        for (candidate, seed), r in mine.items()
        if (candidate, seed + 1) in mine
    ]


def with_interval(pairs: list[tuple[float, float, float]], *, within: bool) -> str:
    """`tau` with an interval by bootstrapping, such as "0.58 (0.31 to 0.80)"."""
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


def log_odds(accuracy: float) -> float:
    """Of an accuracy strictly between 0 and 1."""
    return math.log(accuracy / (1 - accuracy))


def least_squares(given: np.ndarray, found: np.ndarray) -> tuple[list[float], float]:
    """The slopes of `found` (N,) by the columns of `given` (N, K); the deviation of the rest."""
    slopes = np.linalg.lstsq(given, found, rcond=None)[0]
    return [float(slope) for slope in slopes], float(np.std(found - given @ slopes))
