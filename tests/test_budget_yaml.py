from collections import OrderedDict

import numpy as np
import pytest

from hwn2n.budget.load import load_budget
from hwn2n.budget.plain import as_yaml
from hwn2n.budget.strict_yaml import MAX_BYTES, load_yaml, parse_yaml
from hwn2n.errors import InputError


def test_scalars_follow_yaml_1_2():
    text = """
    booleans: [true, False, yes, no, on, off, y, n]
    numbers: [1e9, 1.5, .5, 5., -3, +4, 0x10, 0o17, 017, 1E-3]
    text: [1:30, 1_000, 5M, 2020-01-01, "1", 'true', =, 0b1]
    nothing: [null, ~, ]
    empty:
    """
    data = parse_yaml(text).data
    assert data["booleans"] == [True, False, "yes", "no", "on", "off", "y", "n"]
    assert data["numbers"] == [1e9, 1.5, 0.5, 5.0, -3, 4, 16, 15, 17, 1e-3]
    assert isinstance(data["numbers"][0], float)
    assert data["text"] == ["1:30", "1_000", "5M", "2020-01-01", "1", "true", "=", "0b1"]
    assert data["nothing"] == [None, None]
    assert data["empty"] is None


def test_each_value_knows_its_line():
    document = parse_yaml("a: 1\nb:\n  - x\n  - c: |\n      text\n    d: 2\n", name="f.yaml")
    assert document.data == {"a": 1, "b": ["x", {"c": "text\n", "d": 2}]}
    assert document.line(("a",)) == 1
    assert document.line(("b",)) == 2
    assert document.line(("b", 0)) == 3
    assert document.line(("b", 1, "d")) == 6
    assert document.line(("b", 1, "absent", "deeper")) == 4  # the nearest around it
    assert document.where(("b", 0)) == "f.yaml:3"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' on line 1 and again on line 3"),
        ("a: {b: 1,\n b: 2}\n", 2, "'b' on line 1 and again on line 2"),
        ("a: 1\n'a': 2\n", 2, "a key must stand once"),
        ("a: 1\nb: &x [1]\n", 2, "found an anchor 'x'"),
        ("a: *x\n", 1, "found an alias 'x'"),
        ("a:\n  !!python/object/apply:os.system ['true']\n", 2, "found a tag"),
        ("a: !!str 5\n", 1, "found a tag"),
        ("a: ! 5\n", 1, "found a tag"),
        ("1: a\n", 1, "a key must be text; found '1'"),
        ("true: a\n", 1, "a key must be text"),
        ("? [a]\n: b\n", 1, "a key must be text; found a list"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: [\n", 2, "strict YAML"),
        ("a:\n\t- b\n", 2, "strict YAML"),
        ("a: b: c\n", 1, "strict YAML"),
        ("a: 1\nb: \x07\n", 2, r"character U\+0007"),
        ("a: 1\nb: \x00\n", 2, r"character U\+0000"),
        ('a: 1\nb: "\\U99999999"\n', 2, "an escape must be a Unicode character"),
        ('a: 1\nb: "\\ud800"\n', 2, "lone surrogate"),
        ("a: 1\nb: " + "9" * 5000 + "\n", 2, "at most 40 characters"),
        ("a: " + "[" * 500 + "]" * 500 + "\n", 1, "at most 16 deep"),
        ("a: " + "{a: " * 100 + "}" * 100 + "\n", 1, "at most 16 deep"),
        ("", 1, "found nothing"),
        ("# only a comment\n", 1, "found nothing"),
    ],
)
def test_what_is_not_strict_is_refused_with_its_line(text, line, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, name="f.yaml")
    assert str(caught.value).startswith(f"f.yaml:{line}: ")
    assert "\n" not in str(caught.value)


def test_merge_keys_are_plain_keys():
    assert parse_yaml("<<: {a: 1}\n").data == {"<<": {"a": 1}}


def test_files_that_cannot_be_read(tmp_path):
    cases = {
        "missing.yaml": (None, "No such file"),
        "latin.yaml": ("a: 1\nb: é\n".encode("latin-1"), r"latin\.yaml:2: .* found byte 0xe9"),
        "binary.yaml": (b"PK\x03\x04\x00\x00", r"binary\.yaml:1: "),
        "large.yaml": (b"a: 1\n" * MAX_BYTES, f"at most {MAX_BYTES} bytes"),
        "utf16.yaml": ("a: 1\n".encode("utf-16"), r"utf16\.yaml:1: .*UTF-8"),
        "empty.yaml": (b"", "found nothing"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_yaml(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="Is a directory"):
        load_yaml(tmp_path)
    with pytest.raises(InputError, match="must be a readable YAML file"):
        load_yaml("a\0b")


def test_a_byte_order_mark_is_no_surprise(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert load_yaml(tmp_path / "bom.yaml").data == {"a": 1, "b": 2}


def test_budgets_of_python_are_written_as_they_are_read():
    sizes = [1, 1, 8, 8]
    budget = OrderedDict(
        apiVersion="hwn2n/v1",
        name=np.str_("from-python"),
        input=sizes,
        constraints=[
            OrderedDict(metric="params", max=np.float64(5e-7), tolerance="2%"),
            {"metric": "flops", "max": np.int64(10**17), "confidence": np.float64(0.9)},
            {"metric": "latency", "stat": "p50", "max": "60%", "id": "yes"},
        ],
    )
    text = as_yaml(budget)
    before, after = load_budget(budget), load_budget(text)
    assert (after.name, after.input) == ("from-python", before.input)
    for one, other in zip(before.rows, after.rows, strict=True):
        assert (one.id, one.terms, one.limit.value) == (other.id, other.terms, other.limit.value)
        assert (one.tolerance, one.confidence) == (other.tolerance, other.confidence)
    assert after.rows[2].id == "yes"


def test_what_stands_in_two_places_is_written_twice():
    row = {"metric": "params", "coef": 1, "scale": 1000}
    rows = [{"sum": [row], "max": 1, "id": name} for name in ("a", "b")]
    text = as_yaml({"apiVersion": "hwn2n/v1", "name": "twice", "constraints": rows})
    assert [row.id for row in load_budget(text).rows] == ["a", "b"]
