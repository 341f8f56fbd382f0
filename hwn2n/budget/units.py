"""Quantities with their units: "5M", "10ms", "4MiB", "60%", "-1pt" to SI values, and back.

A unit is mandatory where the column has one, because `max: 10` on a latency has been read as
milliseconds by one person and as seconds by the next. Prefixes are case sensitive, as in SI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from hwn2n.budget.columns import Column, Unit, column_named
from hwn2n.errors import InputError

_SI = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 1024.0, "Mi": 1024.0**2, "Gi": 1024.0**3, "Ti": 1024.0**4}

# For each unit of a column, what may follow the number and the factor to SI.
SUFFIXES: dict[Unit, dict[str, float]] = {
    "": {"": 1.0, **_SI},
    "B": {
        "B": 1.0,
        **{f"{prefix}B": factor for prefix, factor in (_SI | _BINARY).items()},
    },
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9},
    "W": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "kJ": 1e3},
    "1/s": {"/s": 1.0, **{f"{prefix}/s": factor for prefix, factor in _SI.items()}},
    "fraction": {"%": 0.01},
}

_EXAMPLES: dict[Unit, str] = {
    "": "5M",
    "B": "4MiB",
    "s": "10ms",
    "W": "7W",
    "J": "50mJ",
    "1/s": "120/s",
    "fraction": "98% or -1pt",
}

# Beyond these, dividing one quantity by another could leave the range of a float.
_SMALLEST, _LARGEST = 1e-15, 1e24

# An accuracy is a share of so many images at most, and as such no decimal number: 293 of 300 must
# be at most a point below 296 of 300.
_MOST_IMAGES = 10**7

_QUANTITY = re.compile(
    r"([-+]?)(\d+(?:\.\d*)?|\.\d+)([eE][-+]?\d{1,3})? *([^\d\s.+-].*)?", re.ASCII
)

Reference = Literal["absolute", "ratio", "points"]


@dataclass(frozen=True)
class Quantity:
    """A limit or a scale as written, before the teacher is known.

    `value` is in SI units if `reference` is "absolute", a factor on the teacher's value if it is
    "ratio" (60% is 0.6), and a difference to the teacher's value if it is "points" (-1pt is
    -0.01). `text` is how it was written.
    """

    value: float
    reference: Reference
    text: str

    @property
    def needs_teacher(self) -> bool:
        """Whether the number depends on the teacher's value of the column."""
        return self.reference != "absolute"

    def resolve(self, teacher: float | None) -> float:
        """The SI value, given the teacher's value in the same column (None if unavailable)."""
        if self.reference == "absolute":
            return self.value
        if teacher is None:
            raise InputError(f"{self.text} needs the teacher's value; found none")
        # Rounded once, or a student exactly at the limit fails: 29% of 100 is 29 and not
        # 28.999999999999996, 100% of a count of 13 digits is that count.
        if self.reference == "ratio":
            return _scaled(repr(float(teacher)), self.value)
        share = Fraction(teacher).limit_denominator(_MOST_IMAGES)
        return float(share + Fraction(repr(self.value)))

    def __str__(self) -> str:
        if self.reference == "ratio":
            return f"{self.text} of the teacher"
        return f"teacher {self.text}" if self.reference == "points" else self.text


def parse_quantity(text: str | int | float, column: str | Column) -> Quantity:
    """The quantity `text` of a `column`, in SI units or relative to the teacher.

    A percentage is a share of the teacher's value, except for the accuracies, where `98%` is the
    accuracy itself and `-1pt` one percentage point less than the teacher's. Raises InputError
    where the unit is missing or not one of the column's, and where the number is not finite, not
    positive (differences in points may have either sign), or out of any sensible range.
    """
    column = column if isinstance(column, Column) else column_named(column)
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise InputError(
            f"{column.name} must be a quantity such as {_example(column)}; found {text!r}"
        )
    if isinstance(text, int) and abs(text) > _LARGEST:
        text = float("inf")  # int has no limit; neither str() nor float() of a huge one works
    shown = text.strip() if isinstance(text, str) else f"{text:.15g}"
    match = _QUANTITY.fullmatch(shown)
    if match is None:
        raise InputError(
            f"{column.name} must be a finite number with its unit, such as {_example(column)}; "
            f"found {_clip(shown)}"
        )
    sign, digits, exponent, suffix = match[1], match[2], match[3] or "", match[4] or ""
    number = f"{sign}{digits}{exponent}"
    if suffix == "pt":
        return _points(column, _scaled(number, 0.01), sign, shown)
    ratio = suffix == "%" and column.unit != "fraction"
    factor = 0.01 if ratio else SUFFIXES[column.unit].get(suffix)
    if factor is None:
        raise InputError(_wrong_unit(column, suffix, shown))
    value = _scaled(number, factor)
    if not _SMALLEST <= value <= _LARGEST:
        raise InputError(
            f"{column.name} must be positive and between {_SMALLEST:g} and {_LARGEST:g} in SI "
            f"units; found {_clip(shown)}"
        )
    if column.unit == "fraction" and value > 1:
        raise InputError(f"{column.name} must be at most 100%; found {_clip(shown)}")
    return Quantity(value, "ratio" if ratio else "absolute", shown)


def _points(column: Column, number: float, sign: str, shown: str) -> Quantity:
    if column.unit != "fraction":
        raise InputError(f"{column.name} has no percentage points (pt); found {_clip(shown)}")
    if not sign:
        raise InputError(
            "points are a difference to the teacher and need a sign, e.g. -1pt; "
            f"found {_clip(shown)}"
        )
    if abs(number) > 1:
        raise InputError(f"{column.name} must be within 100 points; found {_clip(shown)}")
    return Quantity(number, "points", shown)


def _scaled(number: str, factor: float) -> float:
    """`number` * `factor`, rounded once: 3us is the float 3e-6, which 3 * 1e-6 is not."""
    try:
        return float(Fraction(number) * Fraction(repr(factor)))
    except OverflowError:
        return float("inf")


def _wrong_unit(column: Column, suffix: str, shown: str) -> str:
    if not suffix:
        return (
            f"a unit is needed, e.g. {_EXAMPLES[column.unit]}, for {column.name}; "
            f"found {_clip(shown)}"
        )
    if suffix == "KB":
        return (
            f"KB is ambiguous, so write kB (1000 bytes) or KiB (1024 bytes); found {_clip(shown)}"
        )
    allowed = ", ".join(name or "none" for name in SUFFIXES[column.unit])
    extra = "pt" if column.unit == "fraction" else "%"
    return f"the unit of {column.name} must be one of {allowed}, {extra}; found {_clip(shown)}"


def _example(column: Column) -> str:
    return _EXAMPLES[column.unit]


def _clip(text: str) -> str:
    """`text` quoted on one line and short enough for a message."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


_STEPS: dict[Unit, tuple[tuple[float, str], ...]] = {
    "": ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    "B": ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B")),
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    "W": ((1e3, "kW"), (1.0, "W"), (1e-3, "mW")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")),
    "1/s": ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")),
}


def format_quantity(value: float, column: str | Column | None) -> str:
    """`value` (SI) with three significant digits and its unit: "20.0k", "1.23ms", "98.50%".

    Accuracies keep two decimals, plain counts below 1000 stay whole, and `column=None` stands for
    a number without a unit (a row that combines columns).
    """
    if column is None:
        return f"{value:.4g}"
    column = column if isinstance(column, Column) else column_named(column)
    if column.unit == "fraction":
        return f"{value * 100:.2f}%"
    steps = _STEPS[column.unit]
    size = abs(value)
    if column.unit in ("", "B") and size < steps[-2][0] and float(value).is_integer():
        return f"{value:.0f}{steps[-1][1]}"
    # 999.95 rounds to 1.00k rather than 1000: choose the step by the rounded value.
    factor, suffix = next(
        (step for step in steps if float(f"{size / step[0]:.2e}") >= 1), steps[-1]
    )
    return f"{_three_digits(value / factor)}{suffix}"


def _three_digits(number: float) -> str:
    """`number` with three significant digits and no exponent between 0.001 and 1e6."""
    if number == 0:
        return "0"
    rounded = float(f"{number:.2e}")
    if not 1e-3 <= abs(rounded) < 1e6:
        return f"{rounded:.3g}"
    decimals = 2 if abs(rounded) < 10 else 1 if abs(rounded) < 100 else 0
    return f"{rounded:.{decimals}f}" if abs(rounded) >= 1 else f"{rounded:.3g}"
