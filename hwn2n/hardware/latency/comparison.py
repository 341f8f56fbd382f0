"""What a comparison found: B's latency as a multiple of A's, and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwn2n.hardware.latency.placement import Burst, Placement

Verdict = Literal["faster", "slower", "same", "inconclusive"]
LimitVerdict = Literal["within", "exceeded", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two networks timed side by side, B against A.

    `ratio` is B's time over A's, `low` and `high` its interval, which holds with `confidence`
    whenever the comparison stopped. `margin` 0.01 means that ratios up to 1.01, and down to
    1 / 1.01, count as the same; `limit` is the largest ratio that somebody allows. `looks` says
    after how many placements it was looked, `discarded` how many rounds were thrown away because
    of the `throttle_reasons`, `seconds` how long it took.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    margin: float
    limit: float | None
    placements: tuple[Placement, ...]
    burst: Burst
    looks: tuple[int, ...]
    discarded: int
    throttle_reasons: tuple[str, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """B is faster or slower than A by more than the margin, the same within it, or unknown."""
        return verdict_of(self.low, self.high, self.margin)

    @property
    def limit_verdict(self) -> LimitVerdict | None:
        """Whether B's ratio is certainly within the limit or beyond it; None without a limit."""
        return None if self.limit is None else limit_verdict_of(self.low, self.high, self.limit)

    @property
    def rounds(self) -> int:
        """All rounds that were kept."""
        return sum(len(placement.a_s) for placement in self.placements)

    @property
    def median_a_s(self) -> float:
        """The median over all rounds of A's median time, in seconds for one batch."""
        return float(np.median([time for placement in self.placements for time in placement.a_s]))

    @property
    def median_b_s(self) -> float:
        """The same of B."""
        return float(np.median([time for placement in self.placements for time in placement.b_s]))

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        times = f"{_change(self.low)} to {_change(self.high)}"
        between = f"{times} at {100 * self.confidence:.4g} % confidence"
        if self.verdict == "same":
            return f"B is as fast as A within {_percent(self.margin)}: time {between}"
        if self.verdict == "inconclusive":
            return f"inconclusive for a margin of {_percent(self.margin)}: B's time {between}"
        return f"B is {self.verdict} than A: time {_change(self.ratio)} ({between})"

    @property
    def limit_sentence(self) -> str | None:
        """Whether B may be so slow, in words; None without a limit."""
        if self.limit is None:
            return None
        allowed = _percent(self.limit - 1)
        return {
            "within": f"within the limit: B is at most {allowed} slower",
            "exceeded": f"over the limit: B is more than {allowed} slower",
            "inconclusive": f"inconclusive: B may or may not be more than {allowed} slower",
        }[str(self.limit_verdict)]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, with the medians of all rounds in seconds."""
        return {
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "margin": self.margin,
            "verdict": self.verdict,
            "limit": self.limit,
            "limit_verdict": self.limit_verdict,
            "median_a_s": self.median_a_s,
            "median_b_s": self.median_b_s,
            "rounds": self.rounds,
            "burst": {"timed": self.burst.runs, "untimed": self.burst.lead},
            "looks": list(self.looks),
            "discarded_rounds": self.discarded,
            "throttle_reasons": list(self.throttle_reasons),
            "seconds": round(self.seconds, 3),
            "placements": [
                {"log_ratio": p.effect, "a_s": _rounded(p.a_s), "b_s": _rounded(p.b_s)}
                for p in self.placements
            ],
        }


def verdict_of(low: float, high: float, margin: float) -> Verdict:
    """What an interval of the ratio B / A says with an indifference margin."""
    most, least = 1 + margin, 1 / (1 + margin)
    if low > most:
        return "slower"
    if high < least:
        return "faster"
    return "same" if least <= low and high <= most else "inconclusive"


def limit_verdict_of(low: float, high: float, limit: float) -> LimitVerdict:
    """What an interval of the ratio B / A says of the largest ratio that is allowed."""
    if high <= limit:
        return "within"
    return "exceeded" if low > limit else "inconclusive"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _rounded(seconds: tuple[float, ...]) -> list[float]:
    return [round(value, 9) for value in seconds]
