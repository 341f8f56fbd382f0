"""Which candidate becomes the student: by reward, or by accuracy where there is a budget."""

from types import SimpleNamespace

import pytest
from small import budget

from hwn2n.budget.cost import Reading, cost_to_json
from hwn2n.errors import InterruptedRunError
from hwn2n.hardware.measurement import Beside
from hwn2n.network.decision import NOTHING
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.run.stop import Stop
from hwn2n.search.choose import choose
from hwn2n.search.limits import Limits
from hwn2n.search.recipes import build_settings


def candidate(rollout, params, accuracy, reward, satisfied=True, expected=None):
    return Candidate(
        stage="removal",
        iteration=0,
        rollout=rollout,
        state=State.TRAINED,
        key=f"key{rollout}",
        actions=(),
        decision=NOTHING.to_json(),
        cost=cost_to_json({"params": Reading(params)}),
        accuracy=accuracy,
        reward=reward,
        terms={} if expected is None else {"expected": expected},
        satisfied=satisfied,
    )


@pytest.mark.parametrize(
    ("choose_by", "rows", "wanted"),
    [
        ("reward", ["{metric: params, max: 1000}"], 0),
        ("accuracy", ["{metric: params, max: 1000}"], 2),
        ("accuracy", [], 0),  # without a budget the most accurate network is the teacher
    ],
)
def test_the_student_is_chosen_as_the_settings_say(tmp_path, choose_by, rows, wanted):
    made = (
        candidate(0, 100, accuracy=0.80, reward=0.79),
        candidate(1, 900, accuracy=0.90, reward=0.30),
        candidate(2, 800, accuracy=0.90, reward=0.40),
        candidate(3, 2000, accuracy=0.99, reward=-0.5, satisfied=False),
    )
    assert chosen(tmp_path, choose_by, rows, made) == wanted


def test_what_is_expected_counts_and_not_the_accuracy_of_the_brief_training(tmp_path):
    made = (
        candidate(0, 900, accuracy=0.70, reward=0.30, expected=0.65),
        candidate(1, 900, accuracy=0.90, reward=0.40, expected=0.60),
    )
    assert chosen(tmp_path, "accuracy", ["{metric: params, max: 1000}"], made) == 0


def test_forecasts_follow_from_all_candidates_whether_or_not_the_run_was_resumed(tmp_path):
    made = (
        candidate(0, 900, accuracy=0.7, reward=0.3),
        candidate(1, 800, accuracy=0.6, reward=0.2),
    )
    learned = []
    chosen(tmp_path, "accuracy", [], made, learn=learned.extend)
    assert [row.rollout for row in learned] == [0, 1]


def test_the_choice_stops_when_asked(tmp_path):
    stop = Stop()
    stop.request()
    made = (candidate(0, 900, accuracy=0.7, reward=0.3),)
    with pytest.raises(InterruptedRunError):
        chosen(tmp_path, "accuracy", [], made, stop=stop)
    assert not (tmp_path / "run" / "checkpoints" / "choice.json").exists()


def chosen(tmp_path, choose_by, rows, made, *, learn=len, stop=None):
    folder = RunFolder.create(tmp_path / "run")
    ledger = Ledger(folder.ledger)
    for row in made:
        ledger.add(row)
    settings = build_settings("fast", {"choose_by": choose_by})
    evaluator = SimpleNamespace(
        settings=settings if rows else settings.unlimited(),
        constraints=budget(*rows).resolve({}),
        limits=Limits(budget(*rows), {}),
        measure_again=lambda architecture, decision, looks: Beside({}, {}),
        fitter=SimpleNamespace(learn=learn),
    )
    planner = SimpleNamespace(plan=lambda decision: None)
    try:
        return choose(ledger, planner, evaluator, folder, stop or Stop()).candidate.rollout
    finally:
        ledger.close()
