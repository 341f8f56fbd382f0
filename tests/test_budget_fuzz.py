"""Broken and unbroken files: each is a valid budget or target, or one line with its place.

Mutations come from a seed and made-up budgets from hypothesis, derandomised, so that every run
tries the same files: 1,000 of them, and 100 times as many where slow tests run.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from budget_texts import BUDGETS, TEXTS, as_yaml, budgets, mutated, spoilt_budgets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwn2n.budget.strict_yaml import parse_yaml
from hwn2n.budget.validate import validated
from hwn2n.errors import InputError

NAME = "some folder/b.yaml"
PLACE = re.compile(r"(some folder/b\.yaml|\S*/profiles/[\w.-]+\.yaml):[1-9]\d*(: | and |, )")

MUTATIONS, CHUNKS, MANY = 800, 4, 109_000

derandomised = settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SPOILT = spoilt_budgets() | st.text(max_size=60)


def outcome(text: str) -> str:
    """ "valid" or "refused"; fails for any other end and for a complaint that is not a good one."""
    try:
        validated(parse_yaml(text, name=NAME), BUDGETS)
    except InputError as error:
        message = str(error)
        assert PLACE.match(message), message
        assert message.isprintable(), ascii(message)
        assert 20 < len(message) < 2000, message
        line = int(message.partition("b.yaml:")[2].partition(":")[0].split()[0].strip(",") or 1)
        assert line <= len(text.splitlines()) + 1, message
        return "refused"
    return "valid"


def test_what_is_mutated_is_valid_to_begin_with() -> None:
    assert {outcome(text) for text in TEXTS} == {"valid"}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_mutated_files_are_valid_or_refused_with_their_line(chunk: int) -> None:
    found: Counter[str] = Counter()
    for seed in range(chunk, MUTATIONS, CHUNKS):
        text = mutated(seed)
        try:
            found[outcome(text)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} from\n{text!r}") from error
    # Otherwise the mutations are too timid, or too wild to get past the parser.
    assert all(found[kind] > 0.03 * found.total() for kind in ("valid", "refused")), found


@derandomised
@given(data=budgets())
def test_made_up_budgets(data: dict) -> None:
    outcome(as_yaml(data))


@derandomised
@given(data=SPOILT)
def test_spoilt_budgets(data: object) -> None:
    outcome(data if isinstance(data, str) else as_yaml(data))


@pytest.mark.slow
@settings(derandomised, max_examples=1000)
@given(data=budgets() | SPOILT)
def test_many_more_budgets(data: object) -> None:
    outcome(data if isinstance(data, str) else as_yaml(data))


@pytest.mark.slow
def test_many_more_mutated_files() -> None:
    for seed in range(MUTATIONS, MANY):
        text = mutated(seed)
        try:
            outcome(text)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} from\n{text!r}") from error
