"""Texts of budgets and targets: whole ones, mutations of them, and made-up ones."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hwn2n.budget.columns import COLUMNS, DEFAULTS
from hwn2n.budget.units import SUFFIXES

ROOT = Path(__file__).parent.parent
BUDGETS = ROOT / "budgets"
PROFILES = ROOT / "profiles"
SHIPPED = sorted([*BUDGETS.glob("*.yaml"), *PROFILES.glob("*.yaml")])

WHOLE_BUDGET = """\
apiVersion: hwn2n/v1
name: everything
description: "each key once"
target:
  device: cuda:1
  runtime: cuda-graph
  precision: bf16
  batch: 8
  threads: 2
  power_mode: 15W
  power: {source: ina, rail: VDD_IN}
  match: {board: "*Orin*", gpu: null}
input: [8, 3, 32, 32]
constraints:
  - {metric: params, max: 5M}
  - {metric: latency, stat: p95, max: 10ms, tolerance: 2%, confidence: 0.9}
  - {id: fast, metric: latency, stat: p50, scope: device, min: 1ms, max: 2ms}
  - {metric: power, scope: net, max: 12W, severity: warn}
  - {metric: accuracy, min: -1pt}
  - id: combo
    sum:
      - {metric: latency, stat: p50, coef: 0.7, scale: 10ms}
      - {metric: flops, coef: 0.3, scale: 50%}
    max: 1.0
columns: [params, accuracy]
A:
  - [1, 0]
  - [-1e-6, -2]
b: [1e6, -1]
"""

WHOLE_TARGET = """\
apiVersion: hwn2n/v1
kind: target
name: whole
description: each key once
device: cuda
runtime: tensorrt
precision: fp16
batch: 64
threads: 4
power_mode: MAXN
power: {source: auto, rail: VIN}
match: {cpu: "*", gpu: "*H100*", board: null}
measured:
  - model: torchvision resnet18
    input: [64, 3, 224, 224]
    date: 2026-01-31
    versions: {torch: "2.10", hwn2n: "0.1.0"}
    machine: {cores: 8, gpu: [a, b], deep: {er: null}}
    cost:
      params: {value: 11689512, how: exact}
      latency_p50: {value: 0.0012, low: 0.0011, high: 0.0013}
    notes: [clocks not locked]
"""

TEXTS = (*(path.read_text(encoding="utf-8") for path in SHIPPED), WHOLE_BUDGET, WHOLE_TARGET)

ODD = [
    *("", "~", "null", "true", "on", "NO", "0", "-0", "-1", "1", "1e999", ".nan", "-.inf", "0x1F"),
    *("5M", "5m", "5", "10ms", "10 ms", "10Ms", "1s", "7W", "7mW", "50mJ", "4MiB", "4mib", "4KB"),
    *("60%", "0%", "101%", "99.9%", "-1pt", "+1pt", "1pt", "+200pt", "120/s", "1e-400", "9" * 60),
    *("params", "latency", "p95", "device", "cuda", "cpu", "cuda:0", "tensorrt", "ci", "no-such"),
    *("[]", "{}", "[[]]", "[1, 2, 3, 4]", "{a: 1}", "[" * 40, "{" * 40, "'", '"', "|", ">", "- "),
    *("&a b", "*a", "!!int 5", "!x", "<<", "? x", "%YAML 1.1", "---", "...", "#", "@", "`"),
    *("hwn2n/v1", "hwn2n/v2", "../x.yaml", "/etc", "a/b", "x.yaml", "日本", "١٢٣", "\uff15M", "µs"),
    *("\u2028", "\u0085", "\ufeff", "\x00", "\x1b[31m", "\ud7ff", "\U0001f600", "\u202e", "é"),
    *('"\\ud800"', '"\\U00110000"', '"\\x"', "a\tb", "\t", "1_000", "1:30", "=", "0o17", "1e1_0"),
]
UNITS = sorted({suffix for suffixes in SUFFIXES.values() for suffix in suffixes} | {"%", "pt", "?"})
KEYS = [
    *("metric", "max", "min", "stat", "scope", "id", "sum", "coef", "scale", "tolerance", "b"),
    *("severity", "confidence", "columns", "A", "constraints", "target", "input", "name", "kind"),
    *("apiVersion", "device", "batch", "power", "match", "measured", "cost", "value", "unknown"),
]


def _line(change: Callable[[str, random.Random], str]) -> Callable[[str, random.Random], str]:
    """A change of one line as a change of the text."""

    def changed(text: str, rng: random.Random) -> str:
        lines = text.split("\n")
        index = rng.randrange(len(lines))
        lines[index] = change(lines[index], rng)
        return "\n".join(lines)

    return changed


def _delete_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def _swap_lines(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def _flip_character(text: str, rng: random.Random) -> str:
    index = rng.randrange(len(text) or 1)
    other = chr(ord(text[index]) ^ (1 << rng.randrange(7))) if text else ":"
    return text[:index] + other + text[index + 1 :]


def _cut(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[start + rng.randint(1, 20) :]


def _insert(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(ODD) + text[at:]


def _truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


_VALUE = re.compile(r"(?<=: )[^\s,{}\[\]#]+")


def _change_value(text: str, rng: random.Random) -> str:
    values = list(_VALUE.finditer(text))
    if not values:
        return text
    match = rng.choice(values)
    new = rng.choice([*ODD, *(other[0] for other in values)])
    return text[: match.start()] + new + text[match.end() :]


def _swap_values(text: str, rng: random.Random) -> str:
    values = list(_VALUE.finditer(text))
    if len(values) < 2:
        return text
    first, second = sorted(rng.sample(values, 2), key=lambda match: match.start())
    middle = text[first.end() : second.start()]
    return text[: first.start()] + second[0] + middle + first[0] + text[second.end() :]


def _change_unit(text: str, rng: random.Random) -> str:
    numbers = list(re.finditer(r"(?<=: )(-?[\d.]+)([A-Za-zµ%/]*)", text))
    if not numbers:
        return text
    match = rng.choice(numbers)
    number = rng.choice([match[1], "0", "1e3", "-5", "1e-30", match[1] * 2])
    return text[: match.start()] + number + rng.choice(UNITS) + text[match.end() :]


def _change_key(text: str, rng: random.Random) -> str:
    keys = list(re.finditer(r"\w+(?=:)", text))
    if not keys:
        return text
    match = rng.choice(keys)
    return text[: match.start()] + rng.choice(KEYS) + text[match.end() :]


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_delete_line, _swap_lines, _flip_character, _cut, _insert, _truncate),
    *(_change_value, _swap_values, _change_unit, _change_key, _change_value, _change_unit),
    _line(lambda line, rng: f"{line}\n{line}"),  # a key twice, a row twice
    _line(lambda line, rng: " " * rng.randint(0, 6) + line.lstrip()),
    _line(lambda line, rng: f"{line}{rng.choice(ODD)}"),
    _line(lambda line, rng: f"{rng.choice(KEYS)}: {rng.choice(ODD)}"),
)


def mutated(seed: int) -> str:
    """One of `TEXTS` after one to four mutations; the same for the same seed."""
    rng = random.Random(seed)
    text = TEXTS[seed % len(TEXTS)]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        text = rng.choice(MUTATIONS)(text, rng)
    return text


def as_yaml(data: Any) -> str:
    """`data` as YAML: JSON is a part of it, and each key of the mapping gets a line."""
    if not isinstance(data, dict):
        return json.dumps(data, ensure_ascii=False)
    return "".join(
        f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in data.items()
    )


_text = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from([*ODD, *KEYS])
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def _metrics(draw: st.DrawFn) -> dict[str, Any]:
    """metric, stat and scope of a column."""
    column = COLUMNS[draw(st.sampled_from(list(COLUMNS)))]
    row: dict[str, Any] = {"metric": column.metric}
    for field, usual in zip(
        ("stat", "scope"), DEFAULTS.get(column.metric, (None, None)), strict=True
    ):
        value = getattr(column, field)
        if value is not None and (value != usual or draw(st.booleans())):
            row[field] = value
    return row


@st.composite
def _quantities(draw: st.DrawFn, metric: str | None, *, scale: bool = False) -> Any:
    """A quantity that is valid for `metric`, or for the limit of a sum if that is None."""
    unit = "" if metric is None else next(c.unit for c in COLUMNS.values() if c.metric == metric)
    number = draw(st.floats(0.001, 100).map(lambda value: float(f"{value:.3g}")))
    suffixes = [*SUFFIXES[unit], *(["%"] if metric is not None and unit != "fraction" else [])]
    suffix = draw(st.sampled_from(suffixes))
    if unit == "fraction" and not scale and draw(st.booleans()):
        return f"{draw(st.sampled_from('+-'))}{number}pt"
    if suffix == "":
        return draw(st.sampled_from([number, str(number)]))
    spaces = draw(st.sampled_from(["", "", " "]))
    return f"{number:.15g}{spaces}{suffix}"


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any]
    if draw(st.integers(0, 3)):
        row = draw(_metrics())
        metric = row["metric"]
    else:
        metric = None
        terms = draw(st.lists(_metrics(), min_size=1, max_size=3, unique_by=as_yaml))
        row = {"sum": []}
        for term in terms:
            term["scale"] = draw(_quantities(term["metric"], scale=True))
            if draw(st.booleans()):
                term["coef"] = draw(st.sampled_from([0.5, 1, -2, 1e-3]))
            row["sum"].append(term)
    sides = draw(st.sampled_from([("max",), ("max",), ("min",), ("max", "min")]))
    row |= {side: draw(_quantities(metric)) for side in sides}
    extra = {"tolerance": "2.5%", "confidence": 0.9, "severity": "warn"}
    return row | {key: extra[key] for key in draw(st.sets(st.sampled_from(sorted(extra))))}


@st.composite
def budgets(draw: st.DrawFn) -> dict[str, Any]:
    """Budgets that the models accept; rows may repeat a column or contradict each other."""
    data: dict[str, Any] = {"apiVersion": "hwn2n/v1", "name": "made-up"}
    if draw(st.booleans()):
        data["target"] = draw(
            st.sampled_from(["cpu", "cuda:3", "ci", "cpu-1-thread", {"device": "cuda", "batch": 2}])
        )
    if draw(st.booleans()):
        data["input"] = [draw(st.sampled_from([1, 2])), 3, 32, 32]
    data["constraints"] = draw(st.lists(_rows(), min_size=1, max_size=4))
    if draw(st.integers(0, 3)) == 0:
        columns = draw(
            st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=3, unique=True)
        )
        rows = draw(st.integers(1, 3))
        numbers = st.sampled_from([1, -1, 2.5, -1e-6, 3e7])
        data["columns"] = columns
        data["A"] = [[draw(numbers) for _ in columns] for _ in range(rows)]
        data["b"] = [draw(numbers | st.just(0)) for _ in range(rows)]
    return data


@st.composite
def spoilt_budgets(draw: st.DrawFn) -> Any:
    """Budgets in which one value or key, anywhere, may be anything."""
    data: Any = draw(budgets())
    place = data
    while draw(st.integers(0, 3)) and isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or draw(st.booleans()):
            place[key] = draw(_anything)
            break
        place = inner
    if isinstance(place, dict) and draw(st.booleans()):
        place[draw(_text)] = draw(_anything)
    return data
