"""The search: an anchor, then a strategy, then a run-off. The paper's strategy is `stages`
(Algorithm 1), and it has nothing else.

Departures of the search from the paper, by their numbers in docs/method.md, which has their reasons
and all others. Each is a setting, and off in `recipe: paper`:

12. The uniformly shrunk teacher may be evaluated first, as an anchor (`anchor`, anchor.py).
13. Decisions may be scaled to what is countable of the budget (`project`, fitting/projection.py).
14. The first policies may prefer to keep (`removal.prior`, `shrinkage.prior`, choices/prior.py).
15. Advantages may be leave-one-out, not against the moving average (`advantage`, `normalise`).
18. A candidate outside the budget may keep the more the nearer it is (`near_miss`, reward.py).
22. Another strategy may propose (`strategy`, evolution.py).
23. What the countable limits already exclude may never be sampled (`mask`, choices/masks.py).
24. Updates may also imitate the best candidates so far (`imitate`, learners).
30. The best candidates may train longer before one is chosen (`runoff`, runoff.py).
31. An update may take several steps on its rollouts (`update_steps`, learners).
32. Decisions may be scaled to forecasts of what is measured (`forecast`, fitting/forecast.py).
33. A removal may take out a whole residual branch (`granularity`).
34. Inside a budget the reward may be the accuracy alone (`formula`, reward.py).
35. Activations may count beside a brief accuracy (`activations_weight`, reward.py).
36. Guesses may choose which of many sampled decisions are trained (`screen`, screening.py).
37. The second stage may go on from several removals (`shrink_from`, strategies/stages.py).
38. What the first removal policy keeps may follow from the budget (`budget_prior`, prior.py).
39. Networks may be scaled again by what they measure themselves (`refits`, fitting/refit.py).
40. Widths may be multiples of a step that the target likes (`align`, alignment.py).
41. Before there are guesses, size may choose among the sampled (`zero_cost`, screening.py).
42. Size may count beside a brief accuracy (`size_weight`, reward.py).
43. So may depth (`depth_weight`, reward.py).

And always (6): a candidate whose reward cannot depend on its accuracy is not trained, and a network
that was trained before is not trained again; neither changes a reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwn2n.search.anchor import evaluate_anchors
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.rounds import SEARCH, Rounds
from hwn2n.search.runoff import run_off
from hwn2n.search.strategies.evolution import run_evolution
from hwn2n.search.strategies.stages import run_stages

__all__ = ["ANCHOR", "SEARCH", "Rounds", "run_search"]


def run_search(rounds: Rounds, start_from: Mapping[str, Path] | None = None) -> None:
    """All of a search; `start_from` are saved policies by stage.

    Raises `InterruptedRunError` where it was asked to stop.
    """
    settings = rounds.settings
    if settings.anchor:
        evaluate_anchors(rounds)
    if settings.strategy in ("evolution", "local"):
        run_evolution(rounds)
    else:
        run_stages(rounds, start_from or {})
    run_off(rounds)
    rounds.clock.lap(SEARCH)
