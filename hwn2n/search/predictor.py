"""How accurate a network will look after its brief training, guessed before it is trained.

To sample and count a network takes milliseconds, to train it seconds or minutes. So a search may
sample many decisions for each candidate that it trains (`Settings.screen`), and what those that
were trained before tell of the others chooses which is worth it. Such performance predictors are
usual in the search for architectures (White et al. 2021, arXiv 2104.01177); the paper has none.

The guess is a Gaussian process on the log-odds of the expected accuracy (reward.py): smooth in
what is counted (activations, FLOPs, parameters, operations) and in the widths, all as logarithms of
the teacher's, and in which layers are gone. It follows from the rows it is given alone, so a search
that is resumed guesses what it would have.

Beforehand one thing may be known (`SIZE_SLOPE`): of networks inside one budget, those with more
parameters tend to be more accurate, and ten trained networks tell little more than that.
The process then guesses what is left when the slope is taken away; where the slope is wrong, rows
say so soon enough. What depth adds to an accuracy to make it an expected one is known of every
network, and is taken away in the same manner.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from hwn2n.network.counts import Counts
from hwn2n.network.decision import NOTHING, Decision, name_of
from hwn2n.network.layers import Granularity, find_layers
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, latest

if TYPE_CHECKING:
    import numpy as np
    from sklearn.gaussian_process import GaussianProcessRegressor

LEAST = 8
"""From fewer trained networks nothing is guessed."""
_MOST = 300
"""So many of the newest count: the work grows with the third power of their number."""
SIZE_SLOPE = 0.3
"""Of the log-odds against the logarithm of the parameters, where size is a hint. Anything from 0.3
to 0.8 guesses as well (benchmarks/foresight.py)."""
_PARAMS = 2
"""Where the features have them."""
_NEAR = 1e-3
"""Accuracies nearer to 0 or 1 than this are taken for this, whose log-odds are finite."""


class AccuracyPredictor:
    """Guesses of expected accuracies, by what was trained before."""

    def __init__(self, planner: Planner, granularity: Granularity = "unit") -> None:
        """`granularity` says which layers a search removes as one."""
        self.planner = planner
        layers = [layer for layer in find_layers(planner, granularity) if layer.removable]
        self.removable = [frozenset(layer.operations) for layer in layers]
        self.teacher = planner.count(NOTHING)
        _, channels = planner.left(NOTHING.removed)
        self.groups = list(channels.free.values())
        self._fitted: GaussianProcessRegressor | None = None
        self._rows: dict[str, np.ndarray] = {}
        self._slope = self._depth_slope = 0.0

    @property
    def ready(self) -> bool:
        """Whether it was fitted on enough networks to guess."""
        return self._fitted is not None

    def fit(
        self,
        trained: Sequence[Candidate],
        slope: float = 0.0,
        depth_slope: float = 0.0,
        accuracy: Callable[[Candidate], float] = attrgetter("expected"),
    ) -> None:
        """Learn from these candidates, whose accuracies are known, and from no others.

        Of those with one key, which are one network, the last counts: its accuracy is the mean.
        `slope` is what is known beforehand of parameters (`SIZE_SLOPE`), `depth_slope` of depth, 0
        for nothing. `accuracy` is what is guessed of others.
        """
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known = latest(c for c in trained if c.accuracy is not None)[-_MOST:]
        self._fitted, self._slope, self._depth_slope = None, slope, depth_slope
        if len(known) < LEAST:
            return
        rows = np.stack([self._known_features(candidate.decision) for candidate in known])
        wanted = np.array([_log_odds(accuracy(candidate)) for candidate in known])
        far = math.sqrt(rows.shape[1])
        kernel = (
            RBF(far, (0.5 * far, 4 * far))
            + ConstantKernel(0.5 / rows.shape[1], (1e-5, 1.0)) * DotProduct(0.0, "fixed")
            + WhiteKernel(0.3, (0.05, 2.0))
        )
        process = make_pipeline(
            StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True)
        )
        with warnings.catch_warnings():  # a bound that is reached is as good an answer here
            warnings.simplefilter("ignore", ConvergenceWarning)
            removed = [candidate.decision["removed"] for candidate in known]
            self._fitted = process.fit(rows, wanted - self._beforehand(rows, removed))

    def expected(self, decisions: Sequence[tuple[Decision, Counts]]) -> list[float]:
        """The expected accuracies of decisions as they would be evaluated, with their counts."""
        import numpy as np

        assert self._fitted is not None, "ready says whether it may be asked"
        if not decisions:
            return []
        rows = np.stack([self._features(decision, counts) for decision, counts in decisions])
        most = _log_odds(1.0)  # far from all that is known a line goes anywhere
        removed = [decision.removed for decision, _ in decisions]
        found = self._fitted.predict(rows) + self._beforehand(rows, removed)
        guesses = np.clip(found, -most, most).tolist()
        return [1 / (1 + math.exp(-guess)) for guess in guesses]

    def _beforehand(self, rows: np.ndarray, removed: Sequence[Collection[str]]) -> Any:
        """(N,) log-odds, but for a constant, that networks with these features have by size and
        depth."""
        import numpy as np

        depths = np.array([max(1, self.planner.depth(names)) for names in removed])
        return self._slope * rows[:, _PARAMS] + self._depth_slope * np.log(depths)

    def _known_features(self, decision: Mapping[str, Any]) -> np.ndarray:
        """Of a decision as the ledger has it; each is counted once, for every update fits anew."""
        name = name_of(decision)
        if name not in self._rows:
            found = Decision.from_json(decision)
            self._rows[name] = self._features(found, self.planner.count(found))
        return self._rows[name]

    def _features(self, decision: Decision, counts: Counts) -> np.ndarray:
        """Logarithms of shares of the teacher's: counts; least, mean and spread of the widths; and
        each width, of a layer that is gone the mean. Then 1 for each layer that is gone, else 0."""
        import numpy as np

        mine, whole = counts, self.teacher
        counted = [
            math.log(max(1, part) / max(1, all_of_it))
            for part, all_of_it in (
                (mine.elements, whole.elements),
                (mine.flops, whole.flops),
                (mine.params, whole.params),
                (mine.operations, whole.operations),
            )
        ]
        _, channels = self.planner.left(decision.removed)
        shares = {
            producer: math.log(decision.widths.get(group.name, group.width) / group.width)
            for group in channels.free.values()
            for producer in group.producers
        }
        of_groups = [
            [shares[name] for name in group.producers if name in shares] for group in self.groups
        ]
        means = [float(np.mean(found)) if found else math.nan for found in of_groups]
        there = [mean for mean in means if not math.isnan(mean)] or [0.0]
        usual = float(np.mean(there))
        widths = [usual if math.isnan(mean) else mean for mean in means]
        gone = [float(layer <= decision.removed) for layer in self.removable]
        return np.array([*counted, min(there), usual, float(np.std(there)), *widths, *gone])


def _log_odds(accuracy: float) -> float:
    inside = min(1 - _NEAR, max(_NEAR, accuracy))
    return math.log(inside / (1 - inside))
