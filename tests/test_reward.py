"""The reward and its annealing against closed forms and figures worked out by hand."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwn2n.errors import InputError
from hwn2n.search.reward import (
    DEGENERATE_REWARD,
    RewardTerms,
    accuracy_matters,
    compression,
    compression_reward,
    constrained_reward,
    epsilon,
    expected_accuracy,
    naive_reward,
    near_miss,
    reward,
    score,
)

UNIT = st.floats(0.0, 1.0)


def test_compression_is_the_share_of_parameters_gone():
    assert compression(25, 100) == 0.75
    assert compression(100, 100) == 0.0
    assert compression(150, 100) == -0.5
    assert compression(0, 100) == 1.0


@pytest.mark.parametrize(("C", "expected"), [(0.0, 0.0), (0.5, 0.75), (0.9, 0.99), (1.0, 1.0)])
def test_compression_reward_by_hand(C, expected):
    assert compression_reward(C) == pytest.approx(expected, abs=1e-15)


def test_reward_by_hand():
    # Half the parameters at 0.72 against 0.9: 0.5 * 1.5 * 0.8.
    assert reward(0.72, 0.9, 0.5) == pytest.approx(0.6, abs=1e-15)
    assert reward(0.9, 0.9, 0.0) == 0.0
    assert reward(0.0, 0.9, 0.9) == 0.0
    assert reward(0.99, 0.9, 1.0) == pytest.approx(1.1)  # a student may beat its teacher


def test_larger_student_is_degenerate():
    assert reward(0.9, 0.9, compression(101, 100)) == DEGENERATE_REWARD == -1.0
    assert naive_reward(0.9, -0.01) == -1.0


def test_naive_reward_does_not_tell_accuracy_from_compression():
    assert naive_reward(0.5, 0.9) == naive_reward(0.9, 0.5) == pytest.approx(0.45)
    assert reward(0.9, 1.0, 0.5) == pytest.approx(0.675)
    assert reward(0.5, 1.0, 0.9) == pytest.approx(0.495)


def test_epsilon_by_hand():
    assert epsilon(0) == 1.0
    assert epsilon(3, 15) == pytest.approx(0.8**4)
    assert epsilon(5, 10) == pytest.approx(0.0625)
    assert epsilon(14) == pytest.approx((1 / 15) ** 4)
    assert epsilon(15) == epsilon(16) == epsilon(1000) == 0.0
    assert epsilon(0, horizon=0) == 0.0


def test_epsilon_never_rises():
    values = [epsilon(t, 7) for t in range(12)]
    assert values == sorted(values, reverse=True)


def test_near_miss_by_hand():
    assert near_miss(0.0, 0.0, 0.5) == 0.5
    assert near_miss(1.0, 0.0, 0.5) == 0.25
    assert near_miss(3.0, 0.75, 0.8) == pytest.approx(0.05)
    assert near_miss(7.0, 0.0, 0.0) == 0.0
    assert near_miss(0.5, 1.0, 0.5) == 0.0, "while the budget does not count, nothing is added"
    with pytest.raises(InputError, match="a violation must be >= 0, but got nan"):
        near_miss(math.nan, 0.0, 0.5)


@pytest.mark.parametrize("eps", [0.0, 0.3, 1.0])
def test_the_nearer_to_the_budget_the_better_and_never_better_than_inside(eps):
    def total(violation):
        return score(
            accuracy=0.5 if eps else None,
            teacher_accuracy=0.9,
            compression=0.8,
            satisfied=False,
            epsilon=eps,
            violation=violation,
            near_miss_weight=0.5,
        ).reward

    rewards = [total(violation) for violation in (10.0, 1.0, 0.1, 0.0)]
    assert rewards == sorted(rewards)
    assert (rewards[0] < rewards[-1]) is (eps < 1.0)
    inside = score(
        accuracy=0.5, teacher_accuracy=0.9, compression=0.8, satisfied=True, epsilon=eps
    ).reward
    assert rewards[-1] <= inside


def test_a_degenerate_candidate_keeps_nothing():
    terms = score(
        accuracy=None, teacher_accuracy=0.9, compression=-0.1, satisfied=False, epsilon=0.0,
        violation=0.2, near_miss_weight=0.5,
    )  # fmt: skip
    assert terms.reward == -1.0


def test_constrained_reward_by_hand():
    assert constrained_reward(0.6, True, 0.0) == 0.6
    assert constrained_reward(0.6, False, 1.0) == pytest.approx(0.6)
    assert constrained_reward(0.6, False, 0.25) == pytest.approx(-0.6)
    assert constrained_reward(0.6, False, 0.0) == -1.0
    assert constrained_reward(-1.0, False, 0.5) == -1.0


@given(R=st.floats(-1.0, 1.5), eps=UNIT)
def test_breaking_a_constraint_never_pays(R, eps):
    outside = constrained_reward(R, False, eps)
    assert -1.0 <= outside <= constrained_reward(R, True, eps) + 1e-12


def test_score_of_a_feasible_candidate():
    terms = score(accuracy=0.72, teacher_accuracy=0.9, compression=0.5, satisfied=True, epsilon=0.1)
    assert terms.base == terms.reward == pytest.approx(0.6)
    assert terms.satisfied
    assert json.loads(json.dumps(dataclasses.asdict(terms))) == dataclasses.asdict(terms)


def test_score_outside_the_budget_and_by_the_naive_formula():
    terms = score(
        accuracy=0.8,
        teacher_accuracy=0.9,
        compression=0.5,
        satisfied=False,
        epsilon=0.5,
        formula="naive",
    )
    assert terms.base == pytest.approx(0.4)
    assert terms.reward == pytest.approx(0.5 * 1.4 - 1)


def test_by_accuracy_a_budget_makes_small_ones_no_better():
    def rewarded(formula, **how):
        return score(accuracy=0.72, teacher_accuracy=0.9, formula=formula, **how).reward

    for C in (0.1, 0.5, 0.99):
        inside = {"compression": C, "satisfied": True, "epsilon": 0.1}
        assert rewarded("accuracy", **inside) == pytest.approx(0.8)
        outside = {**inside, "satisfied": False}
        assert rewarded("accuracy", **outside) == rewarded("paper", **outside) < 0.8
    larger = {"compression": -0.1, "satisfied": True, "epsilon": 0.1}
    assert rewarded("accuracy", **larger) == -1.0


@given(accuracy=UNIT, few=st.floats(0.01, 1.0), more=st.floats(1.0, 10.0))
def test_a_larger_share_promises_more(accuracy, few, more):
    promised = [expected_accuracy(accuracy, share, 0.5) for share in (few, few * more)]
    assert 0.0 <= promised[0] <= promised[1] <= 1.0
    assert promised[0] <= accuracy + 1e-12
    assert expected_accuracy(accuracy, few, 0.0) == accuracy


def test_the_expected_accuracy_by_hand():
    # odds of 1 to 1, a quarter of the activations: 1/4 to the power of the weight
    assert expected_accuracy(0.5, 0.25, 1.0) == pytest.approx(0.2)
    assert expected_accuracy(0.5, 0.25, 0.5) == pytest.approx(1 / 3)
    assert [expected_accuracy(end, 0.25, 1.0) for end in (0.0, 1.0)] == [0.0, 1.0]


@pytest.mark.parametrize("satisfied", [True, False])
def test_only_the_formula_of_accuracy_rewards_what_is_expected(satisfied):
    how = {"teacher_accuracy": 0.9, "compression": 0.5, "epsilon": 1.0, "satisfied": satisfied}
    promised = {"promise": 0.25}
    for formula in ("paper", "naive"):
        plain, other = (
            score(accuracy=0.5, formula=formula, **how, **more) for more in ({}, promised)
        )
        assert plain.reward == other.reward
        assert (plain.expected, other.expected) == (0.5, pytest.approx(0.2))
    found = score(accuracy=0.5, formula="accuracy", **how, **promised)
    as_if = score(accuracy=0.2, formula="accuracy", **how)
    assert found.reward == pytest.approx(as_if.reward)
    assert found.accuracy == 0.5


@pytest.mark.parametrize(
    "case",
    [
        {"compression": None},
        {"compression": -0.1},
        {"compression": 0.5, "degenerate": True},
    ],
)
def test_degenerate_candidates_need_no_accuracy(case):
    terms = score(accuracy=None, teacher_accuracy=0.9, satisfied=True, epsilon=1.0, **case)
    assert terms == RewardTerms(
        accuracy=None,
        teacher_accuracy=0.9,
        compression=case["compression"],
        base=-1.0,
        epsilon=1.0,
        satisfied=False,
        reward=-1.0,
    )


def test_untrained_candidate_outside_a_hard_budget():
    terms = score(
        accuracy=None, teacher_accuracy=0.9, compression=0.5, satisfied=False, epsilon=0.0
    )
    assert terms.reward == -1.0
    assert terms.base is None


@pytest.mark.parametrize(("satisfied", "eps"), [(True, 0.0), (False, 0.3)])
def test_accuracy_must_be_known_where_it_counts(satisfied, eps):
    assert accuracy_matters(0.5, satisfied, eps)
    with pytest.raises(InputError, match="accuracy must be known"):
        score(
            accuracy=None, teacher_accuracy=0.9, compression=0.5, satisfied=satisfied, epsilon=eps
        )


@given(accuracy=UNIT, C=st.floats(-1.0, 1.0), satisfied=st.booleans(), eps=st.just(0.0) | UNIT)
def test_accuracy_that_does_not_matter_does_not_change_the_reward(accuracy, C, satisfied, eps):
    if accuracy_matters(C, satisfied, eps):
        return
    known, unknown = (
        score(accuracy=a, teacher_accuracy=0.9, compression=C, satisfied=satisfied, epsilon=eps)
        for a in (accuracy, None)
    )
    assert known.reward == unknown.reward == -1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compression(1, 0), "params_teacher=0"),
        (lambda: compression(-1, 5), "params_student=-1"),
        (lambda: compression_reward(1.5), "1.5"),
        (lambda: compression_reward(math.nan), "nan"),
        (lambda: reward(0.5, 0.0, 0.5), "teacher"),
        (lambda: reward(math.nan, 0.9, 0.5), "accuracy must be a fraction"),
        (lambda: reward(93.0, 0.9, 0.5), "93.0"),
        (lambda: reward(0.5, 0.9, math.nan), "nan"),
        (lambda: naive_reward(1.1, 0.5), "1.1"),
        (lambda: expected_accuracy(0.5, 0.0, 1.0), "share=0.0"),
        (lambda: expected_accuracy(0.5, 0.5, -1.0), "weight=-1.0"),
        (lambda: expected_accuracy(1.5, 0.5, 1.0), "accuracy must be a fraction"),
        (lambda: epsilon(-1), "t=-1"),
        (lambda: epsilon(0, -2), "horizon=-2"),
        (lambda: constrained_reward(math.nan, True, 0.0), "nan"),
        (lambda: constrained_reward(-1.5, True, 0.0), "-1.5"),
        (lambda: constrained_reward(0.5, False, 1.5), "epsilon"),
        (
            lambda: score(
                accuracy=0.5,
                teacher_accuracy=0.9,
                compression=0.5,
                satisfied=True,
                epsilon=0.0,
                formula="linear",  # type: ignore[arg-type]
            ),
            "'linear'",
        ),
    ],
)
def test_bad_values_are_refused_in_one_line(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
