"""Kendall's tau of short trainings against full ones, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.rankings import FULL, WEIGHTS, table, tau


def test_tau_by_hand() -> None:
    # of six pairs five agree and one does not
    pairs = [(0.1, 1.0, 1.0), (0.1, 2.0, 2.0), (0.1, 3.0, 4.0), (0.1, 4.0, 3.0)]
    assert tau(pairs, within=False) == pytest.approx(4 / 6)
    assert tau(pairs, within=True) == pytest.approx(4 / 6)


def test_within_sizes_the_sizes_do_not_help() -> None:
    small = [(0.1, 3.0, 1.0), (0.1, 2.0, 2.0), (0.1, 1.0, 3.0)]
    large = [(0.2, 13.0, 11.0), (0.2, 12.0, 12.0), (0.2, 11.0, 13.0), (0.2, 10.0, 14.0)]
    assert tau([*small, *large], within=True) == pytest.approx(-1.0)
    # 12 pairs across the sizes agree, 3 + 6 within them do not
    assert tau([*small, *large], within=False) == pytest.approx((12 - 9) / 21)
    assert math.isnan(tau(small[:2], within=True))


def row(candidate: int, proxy: str, accuracy: float, seed: int = 0) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "proxy": proxy,
        "seed": seed,
        "size": 0.1,
        "accuracy": accuracy,
        "seconds": 10.0 if proxy == FULL else 1.0,
    }


def test_a_line_for_each_proxy_and_the_full_training_with_another_seed() -> None:
    rows = [row(n, FULL, n / 10) for n in range(6)]
    rows += [row(n, "short", -n / 10) for n in range(6)]
    rows += [row(n, "hardly begun", n / 10) for n in range(4)]
    lines = table(rows, ["short", "hardly begun", "none"]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| short | 6 | 1 | 1.0 | -1.00 (-1.00 to -1.00) | -1.00 (-1.00 to -1.00) |"
    rows += [row(n, FULL, n / 20, seed=1) for n in range(6)]
    short, last = table(rows, ["short"]).splitlines()[-2:]
    assert short == lines[2], "seeds of the full training are averaged"
    assert last.startswith("| in full, with the next seed | 6 | 2 | 10.0 | 1.00 ")


def test_activations_have_columns_where_they_are_known() -> None:
    rows = [row(n, FULL, n / 10) for n in range(6)]
    rows += [row(n, "short", 0.5 - n / 1000) for n in range(6)]
    # those that ended higher have so many more activations that the least weight turns the ranking
    shares = {n: 0.1 * (n + 1) for n in range(6)}
    head, _, short = table(rows, ["short"], shares).splitlines()
    assert head.count("with activations weighed") == len(WEIGHTS)
    cells = [cell.strip() for cell in short.strip("|").split("|")]
    assert cells[5].startswith("-1.00")
    assert all(cell.startswith("1.00") for cell in cells[6:])
    rows += [row(n, FULL, n / 20, seed=1) for n in range(6)]
    lines = table(rows, ["short"], shares).splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_seeds_of_a_short_training_are_ranked_by_one_another() -> None:
    rows = [row(n, FULL, n / 10) for n in range(6)]
    rows += [row(n, "short", -n / 10, seed=seed) for n in range(6) for seed in (0, 1)]
    rows += [row(n, "once", n / 10) for n in range(6)]
    head, _, short, once = table(rows, ["short", "once"]).splitlines()
    assert head.endswith("| one seed by the next, within sizes |")
    assert short.endswith("| -1.00 (-1.00 to -1.00) | 1.00 (1.00 to 1.00) |")
    assert once.endswith("| 1.00 (1.00 to 1.00) |  |")
