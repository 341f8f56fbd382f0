"""The reward of a candidate, as pure functions (Ashok et al., arXiv 1709.06030, section 3.3).

`score` puts them together; the search loop calls it and the ledger stores what it returns.
Accuracies are fractions 0..1, of the validation split: the authors' code rewards accuracy on
the test split, which then measures nothing any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from hwn2n.errors import InputError

DEGENERATE_REWARD = -1.0
"""Reward of a candidate that cannot be built, or has nothing left to train (section 3.3)."""

ANNEALING_HORIZON = 15
"""Updates until an infeasible candidate earns nothing; from the authors' code, not the paper."""

Formula = Literal["paper", "naive", "accuracy"]


def compression(params_student: int, params_teacher: int) -> float:
    """Return C = 1 - params_student / params_teacher (section 3.3): 0 is no compression.

    Negative when the student is larger than its teacher. Raises InputError unless
    params_student >= 0 and params_teacher > 0.
    """
    if params_student < 0 or params_teacher <= 0:
        raise InputError(
            "parameter counts must be >= 0 for a student and > 0 for a teacher, "
            f"but got {params_student=} and {params_teacher=}"
        )
    return 1.0 - params_student / params_teacher


def compression_reward(C: float) -> float:
    """Return R_c = C (2 - C) (section 3.3).

    Its slope 2 (1 - C) falls with C, so that a policy gains little by trading the last of the
    accuracy for the last of the parameters, as it would under the linear R_c = C.
    """
    if not C <= 1.0:  # NaN as well
        raise InputError(f"compression must be a number <= 1, but got {C}")
    return C * (2.0 - C)


def reward(accuracy: float, teacher_accuracy: float, C: float) -> float:
    """Return R = C (2 - C) * A / A_teacher (section 3.3).

    A student larger than its teacher (C < 0) is degenerate: the result is -1.
    """
    base = compression_reward(C) * accuracy_reward(accuracy, teacher_accuracy)
    return DEGENERATE_REWARD if C < 0.0 else base


def naive_reward(accuracy: float, C: float) -> float:
    """Return R = A C, which the paper's appendix compares with; C < 0 gives -1 here too.

    It is symmetric in A and C: 0.5 of accuracy at 0.9 of compression earn as much as 0.9 at 0.5,
    where the paper's formula prefers the accurate one.
    """
    _check_accuracy("accuracy", accuracy)
    compression_reward(C)  # the same check of C
    return DEGENERATE_REWARD if C < 0.0 else accuracy * C


def accuracy_reward(accuracy: float, teacher_accuracy: float) -> float:
    """Return R = A / A_teacher, for candidates inside a budget: not in the paper.

    There the budget says how small is small enough, and C (2 - C) would steer away from the
    parameters that a limit on FLOPs or latency leaves free: at 20 % of a ResNet's FLOPs one network
    with twice the parameters of another has to be a tenth more accurate to earn as much.
    """
    _check_accuracy("accuracy", accuracy)
    _check_accuracy("teacher_accuracy", teacher_accuracy)
    if teacher_accuracy == 0.0:
        raise InputError("the accuracy of the teacher must be above 0 to divide by it, but got 0")
    return accuracy / teacher_accuracy


def expected_accuracy(accuracy: float, share: float, weight: float) -> float:
    """Return the brief accuracy with its log-odds moved by weight * ln(share).

    Not in the paper. A brief training ranks networks as they learn, and some learn more slowly and
    end higher: of networks inside one budget those with more parameters. This moves the ranking
    towards how they end (benchmarks/gains.py, benchmarks/proxies.py).

    share: of the teacher's parameters or activations, > 0. weight: 0 changes nothing.
    """
    _check_accuracy("accuracy", accuracy)
    if not (share > 0.0 and weight >= 0.0):
        raise InputError(f"a share must be > 0 and its weight >= 0, but got {share=} and {weight=}")
    if weight == 0.0 or accuracy in (0.0, 1.0):
        return accuracy
    odds = accuracy / (1.0 - accuracy) * share**weight
    return odds / (1.0 + odds)


def epsilon(t: int, horizon: int = ANNEALING_HORIZON) -> float:
    """Return eps_t = (1 - t / horizon)^4 for t < horizon and 0 from there on (section 3.3.1).

    t: number of policy updates before this one, >= 0, so that eps_0 = 1. The paper only says
    that eps falls from 1 to 0; the power and the horizon of 15 are those of the authors' code.
    horizon = 0 makes the constraints hard from the first update.
    """
    if t < 0 or horizon < 0:
        raise InputError(f"t and horizon must be >= 0, but got {t=} and {horizon=}")
    return (1.0 - t / horizon) ** 4 if t < horizon else 0.0


def constrained_reward(R: float, satisfied: bool, eps: float) -> float:
    """Return R inside the budget, and eps (R + 1) - 1 outside it (section 3.3.1).

    With eps = 1 constraints do not count; with eps = 0 a candidate outside the budget earns -1,
    as a degenerate one does. R is -1 or more, so breaking a constraint never pays.
    """
    if not (math.isfinite(R) and R >= DEGENERATE_REWARD):
        raise InputError(f"a reward must be a finite number >= -1, but got {R}")
    if not 0.0 <= eps <= 1.0:
        raise InputError(f"epsilon must be between 0 and 1 inclusive, but got {eps}")
    return R if satisfied else eps * (R + 1.0) - 1.0


def near_miss(violation: float, eps: float, weight: float) -> float:
    """Return (1 - eps) weight / (1 + violation), what a candidate outside the budget keeps.

    Not in the paper, where all candidates outside earn -1 once eps is 0. Then a budget that no
    early candidate meets gives the policies nothing to go by. Counted rows are met by projection;
    rows over measured columns are not, and this is what leads to them.

    violation: how far outside the worst known row is, as a share of its limit, >= 0.
    weight: 0 is the paper; below 1, no candidate outside earns as much as a useless one inside.
    """
    if not violation >= 0.0:
        raise InputError(f"a violation must be >= 0, but got {violation}")
    return (1.0 - eps) * weight / (1.0 + violation)


def accuracy_matters(C: float, satisfied: bool, eps: float) -> bool:
    """Return whether the reward of this candidate depends on its accuracy at all.

    Where it does not, training the candidate would buy nothing: it is -1 whatever comes out.
    """
    return C >= 0.0 and (satisfied or eps > 0.0)


@dataclass(frozen=True, kw_only=True)
class RewardTerms:
    """How one reward came about. All fields are plain numbers, for the ledger.

    accuracy: of the candidate, 0..1; None when it was not trained.
    expected: what candidates are compared by where accuracy counts, see `expected_accuracy`.
    compression: C; None when the candidate could not be built.
    base: R before the constraints; None when an untrained candidate never needed it.
    epsilon: eps_t that was in force. satisfied: whether the candidate is inside the budget.
    reward: what the policy is given, -1..1 (a little more if the student beats its teacher).
    violation: how far outside the budget it is, as `near_miss` takes it; None inside.
    """

    accuracy: float | None
    teacher_accuracy: float
    compression: float | None
    base: float | None
    epsilon: float
    satisfied: bool
    reward: float
    violation: float | None = None
    expected: float | None = None


def score(
    *,
    accuracy: float | None,
    teacher_accuracy: float,
    compression: float | None,
    satisfied: bool,
    epsilon: float,
    degenerate: bool = False,
    formula: Formula = "paper",
    violation: float | None = None,
    near_miss_weight: float = 0.0,
    promise: float = 1.0,
) -> RewardTerms:
    """Return the reward of one candidate with its terms (sections 3.3 and 3.3.1).

    degenerate: the candidate is illegal or has nothing to train. So is one whose `compression`
        is None (it was never built) or negative. All earn -1, and none counts as satisfied.
    accuracy: may be None where `accuracy_matters` says no; otherwise InputError.
    formula: "paper" is `reward`, "naive" is `naive_reward`, "accuracy" is `accuracy_reward` inside
        the budget and `reward` outside, where being smaller is still what is wanted, both of the
        expected accuracy. It earns a candidate outside no more than one inside, since
        C (2 - C) <= 1.
    promise: what the odds of the accuracy are multiplied by where it is compared, a share to the
        power of its weight: see `expected_accuracy`.
    violation, near_miss_weight: see `near_miss`; without a violation nothing is added.
    """
    if formula not in get_args(Formula):
        raise InputError(
            f"the reward formula must be one of {', '.join(get_args(Formula))}, but got {formula!r}"
        )
    expected = None if accuracy is None else expected_accuracy(accuracy, promise, 1.0)
    judged = expected if formula == "accuracy" else accuracy
    if degenerate or compression is None or compression < 0.0:
        base: float | None = DEGENERATE_REWARD
        satisfied, total = False, DEGENERATE_REWARD
    elif judged is not None:
        if formula == "naive":
            base = naive_reward(judged, compression)
        elif formula == "accuracy" and satisfied:
            base = accuracy_reward(judged, teacher_accuracy)
        else:
            base = reward(judged, teacher_accuracy, compression)
        total = constrained_reward(base, satisfied, epsilon)
    elif accuracy_matters(compression, satisfied, epsilon):
        raise InputError(
            "accuracy must be known for a candidate inside the budget or while epsilon > 0, "
            f"but it is None with {satisfied=} and {epsilon=}"
        )
    else:
        base, total = None, DEGENERATE_REWARD
    if violation is not None and base != DEGENERATE_REWARD and not satisfied:
        total += near_miss(violation, epsilon, near_miss_weight)
    return RewardTerms(
        accuracy=accuracy,
        teacher_accuracy=teacher_accuracy,
        compression=compression,
        base=base,
        epsilon=epsilon,
        satisfied=satisfied,
        reward=total,
        violation=violation,
        expected=expected,
    )


def _check_accuracy(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:  # NaN fails too
        raise InputError(f"{name} must be a fraction between 0 and 1 inclusive, but got {value}")
