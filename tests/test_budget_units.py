import math

import pytest

from hwn2n.budget.columns import COLUMNS, COUNTABLE, find_column, in_order
from hwn2n.budget.units import SUFFIXES, format_quantity, parse_quantity
from hwn2n.errors import InputError


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("5M", "params", 5e6),
        (20000, "params", 20000.0),
        (1e9, "flops", 1e9),
        ("1.5e3k", "flops", 1.5e6),
        ("4MiB", "weight_bytes", 4 * 1024**2),
        ("4MB", "file_bytes", 4e6),
        ("10ms", "latency_p95", 0.01),
        ("3us", "latency_p50", 3e-6),
        ("3 µs", "latency_p50", 3e-6),
        (".5s", "latency_p50", 0.5),
        ("7W", "power_avg", 7.0),
        ("1500mW", "power_avg", 1.5),
        ("50mJ", "energy", 0.05),
        ("1.2k/s", "throughput", 1200.0),
        ("98%", "accuracy", 0.98),
        ("29%", "worst_class_accuracy", 0.29),
    ],
)
def test_absolute_quantities_are_exact_si_values(text, column, value):
    quantity = parse_quantity(text, column)
    assert quantity.value == value
    assert quantity.reference == "absolute"
    assert quantity.resolve(None) == value


def test_percentages_of_the_teacher_and_points():
    share = parse_quantity("60%", "flops")
    assert (share.value, share.reference, share.needs_teacher) == (0.6, "ratio", True)
    assert share.resolve(200.0) == 120.0
    loss = parse_quantity("-1pt", "accuracy")
    assert (loss.value, loss.reference) == (-0.01, "points")
    assert loss.resolve(0.9) == 0.89
    assert parse_quantity("+0.5pt", "accuracy").resolve(0.9) == 0.905
    assert str(share) == "60% of the teacher"


def test_a_share_of_a_whole_number_is_not_a_hair_below_it():
    assert 0.29 * 100 < 29  # what would refuse a student of exactly 29 parameters
    assert parse_quantity("29%", "params").resolve(100) == 29


@pytest.mark.parametrize("teacher", [1_234_567_890_123, 0.123456789012345, 1 / 3, 7e-9 / 3])
def test_all_of_the_teacher_is_what_the_teacher_has(teacher):
    assert parse_quantity("100%", "latency_p50").resolve(teacher) == teacher


@pytest.mark.parametrize("images", [300, 700, 1100])
def test_a_point_below_the_teacher_is_so_many_images(images):
    point = parse_quantity("-1pt", "accuracy")
    for right in range(images // 2, images + 1):
        assert point.resolve(right / images) == (right - images // 100) / images


def test_a_relative_quantity_needs_the_teacher():
    with pytest.raises(InputError, match="needs the teacher's value"):
        parse_quantity("60%", "flops").resolve(None)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (10, "latency_p95", r"a unit is needed, e\.g\. 10ms"),
        ("10", "power_avg", r"a unit is needed, e\.g\. 7W"),
        ("98", "accuracy", r"a unit is needed, e\.g\. 98% or -1pt"),
        ("10MS", "latency_p95", "must be one of s, ms, us"),
        ("10m", "latency_p95", "must be one of s, ms, us"),
        ("5ms", "params", "must be one of none, k, M, G, T, %"),
        ("4KB", "weight_bytes", "KB is ambiguous"),
        (float("nan"), "params", "finite number"),
        (float("inf"), "params", "finite number"),
        ("inf", "params", "finite number"),
        ("-5", "params", "must be positive"),
        ("-10%", "params", "must be positive"),
        (0, "params", "must be positive"),
        ("1e400", "params", "must be positive and between"),
        ("1e-400s", "latency_p50", "must be positive and between"),
        (10**500, "params", "finite number"),
        ("150%", "accuracy", "at most 100%"),
        ("1pt", "accuracy", "need a sign"),
        ("-101pt", "accuracy", "within 100 points"),
        ("-1pt", "params", "no percentage points"),
        (True, "params", "must be a quantity"),
        (None, "params", "must be a quantity"),
        ("", "params", "finite number"),
        ("\uff15", "params", "finite number"),
        ("5\nM", "params", "finite number"),
        ("x" * 500, "params", "finite number"),
        ("5M", "parms", "a column must be one of"),
    ],
)
def test_refusals_say_what_must_hold_on_one_line(text, column, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_quantity(text, column)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (20000, "params", "20.0k"),
        (999, "params", "999"),
        (999_960, "params", "1.00M"),
        (0, "params", "0"),
        (-1234, "params", "-1.23k"),
        (4 * 1024**2, "weight_bytes", "4.00MiB"),
        (1023, "weight_bytes", "1023B"),
        (0.00123, "latency_p50", "1.23ms"),
        (12.34, "power_avg", "12.3W"),
        (0.0123, "energy", "12.3mJ"),
        (120, "throughput", "120/s"),
        (0.985, "accuracy", "98.50%"),
        (0.123456, None, "0.1235"),
    ],
)
def test_formatting(value, column, text):
    assert format_quantity(value, column) == text


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_formatted_can_be_read_again(name):
    for value in (1e-7, 0.0123, 1.0, 37.0, 999.99, 12345.0, 9.87e8):
        if COLUMNS[name].unit == "fraction":
            value = min(value, 1.0)
        text = format_quantity(value, name)
        if float(text.rstrip("%kKMGTiBsmuWnJ/")) == 0:
            continue  # smaller than the last digit shown
        read = parse_quantity(text, name).value
        assert math.isclose(read, value, rel_tol=0.01) or abs(read - value) < 1e-4


def test_columns_are_found_by_metric_stat_and_scope():
    assert find_column("params").name == "params"
    assert find_column("latency", "p95").name == "latency_p95"
    assert find_column("latency", "p95", "device").name == "device_latency_p95"
    assert find_column("power").name == "power_avg"
    assert find_column("power", scope="net").name == "power_avg_net"
    for arguments, message in [
        (("speed",), "metric must be one of"),
        (("latency",), "stat of latency must be one of p50, p90, p95, p99; found none"),
        (("latency", "p98"), "stat of latency must be one of"),
        (("latency", "p50", "net"), "scope of latency must be one of"),
        (("params", "p50"), "stat of params must be left out"),
    ]:
        with pytest.raises(InputError, match=message):
            find_column(*arguments)


def test_every_column_can_be_named_and_has_units():
    for name, column in COLUMNS.items():
        assert name == column.name
        assert find_column(column.metric, column.stat, column.scope) is column
        assert column.unit in SUFFIXES
        assert column.meaning
    assert COUNTABLE == ("params", "flops", "weight_bytes", "file_bytes")
    assert in_order(["accuracy", "params", "params"]) == ("params", "accuracy")
