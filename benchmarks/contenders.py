"""The ways to search that benchmarks compare: for each, what it overrides of a recipe."""

from __future__ import annotations

from typing import Any, Literal

UNSCREENED = {
    "screen": 1,
    "zero_cost": False,
    "shrink_from": 1,
    "budget_prior": False,
    "align": False,
    "size_weight": 0.0,
    "depth_weight": 0.0,
}
"""All that is sampled is evaluated, the second stage shrinks what one removal leaves, the first
policy prefers to keep layers whatever the budget, widths are of any step, and brief trainings are
compared by their accuracy alone."""

SCREENED = {"screen": 8, "shrink_from": 3}
"""Of eight decisions guesses choose one; three removals go on into the second stage."""

BY_BUDGET = {"budget_prior": True}
"""The tighter the budget, the fewer layers the first policy keeps."""

UNITS = {**UNSCREENED, "granularity": "unit", "update_steps": 1, "removal.prior": 2.0}
"""Layer by layer, one step of Adam an update: whatever the recipe has by default."""

BLOCKS = {
    **UNSCREENED,
    "strategy": "policies",
    "granularity": "block",
    "update_steps": 10,
    "removal.prior": 1.0,
}
"""Whole residual branches, ten steps of Adam an update."""

PAPERS_POLICIES = {
    **UNITS,
    "strategy": "policies",
    **dict.fromkeys(["removal.prior", "shrinkage.prior", "near_miss"], 0.0),
    **dict.fromkeys(["removal.entropy_weight", "shrinkage.entropy_weight"], 0.0),
    **dict.fromkeys(["project", "anchor", "normalise"], False),
    "advantage": "ema",
    "formula": "paper",
    "features": "paper",
    "removal.lr": 0.003,
    "shrinkage.lr": 0.01,
}
"""What makes the policies of `recipe: fast` those of the paper; candidates are trained as there."""

NO_SEARCH = {
    **UNITS,
    "strategy": "policies",
    "removal.updates": 0,
    "shrinkage.updates": 0,
    "round_to": 1,
}
"""Of all networks of uniform width the one that uses most of the budget: steps leave it few."""

SCREENED_POLICIES = "policies, blocks, budget prior, screened"
ALIGNED = f"{SCREENED_POLICIES}, aligned"
ZERO_COST = f"{SCREENED_POLICIES}, zero-cost"
ALIGNED_ZERO_COST = f"{ALIGNED}, zero-cost"
BY_SIZE = f"{ZERO_COST}, by size"
ALIGNED_BY_SIZE = f"{ALIGNED_ZERO_COST}, by size"
BY_DEPTH = f"{BY_SIZE} and depth"
DEFAULT = f"{ALIGNED_BY_SIZE} and depth"
"""What `recipe: fast` does by itself. Without a limit on time it is the same without `aligned`."""
_SIZE = {"zero_cost": True, "size_weight": 0.2}
_DEPTH = {"zero_cost": True, "size_weight": 0.6, "depth_weight": 0.3}

SHIPPED = "policies, shipped start"
SHIPPED_SCREENED = f"{SHIPPED}, screened"

STRATEGIES: dict[str, dict[str, Any]] = {
    "policies": {**UNITS, "strategy": "policies"},
    "policies, several steps": {**UNITS, "strategy": "policies", "update_steps": 10},
    "policies, several steps, blocks": BLOCKS,
    "policies, blocks, budget prior": {**BLOCKS, **BY_BUDGET},
    SCREENED_POLICIES: {**BLOCKS, **BY_BUDGET, **SCREENED},
    ALIGNED: {**BLOCKS, **BY_BUDGET, **SCREENED, "align": True},
    ZERO_COST: {**BLOCKS, **BY_BUDGET, **SCREENED, "zero_cost": True},
    ALIGNED_ZERO_COST: {**BLOCKS, **BY_BUDGET, **SCREENED, "zero_cost": True, "align": True},
    BY_SIZE: {**BLOCKS, **BY_BUDGET, **SCREENED, **_SIZE},
    ALIGNED_BY_SIZE: {**BLOCKS, **BY_BUDGET, **SCREENED, **_SIZE, "align": True},
    BY_DEPTH: {**BLOCKS, **BY_BUDGET, **SCREENED, **_DEPTH},
    DEFAULT: {**BLOCKS, **BY_BUDGET, **SCREENED, **_DEPTH, "align": True},
    SHIPPED: BLOCKS,
    SHIPPED_SCREENED: {**BLOCKS, **BY_BUDGET, **SCREENED},
    "policies, masks": {**UNITS, "strategy": "policies", "mask": True},
    "policies, masks for projection": {
        **UNITS,
        "strategy": "policies",
        "mask": True,
        "project": False,
    },
    "policies, imitation": {
        **UNITS,
        "strategy": "policies",
        "imitate": 5,
        "imitate_weight": 0.3,
    },
    "policies of the paper": PAPERS_POLICIES,
    "policies of the paper, masks": {**PAPERS_POLICIES, "mask": True},
    "random actions": {**UNITS, "strategy": "random"},
    "random actions, blocks": {**UNITS, "strategy": "random", "granularity": "block"},
    "random actions, blocks, aligned": {
        **UNITS,
        "strategy": "random",
        "granularity": "block",
        "align": True,
    },
    "random actions, blocks, screened": {
        **UNITS,
        "strategy": "random",
        "granularity": "block",
        **SCREENED,
    },
    "evolution": {**UNITS, "strategy": "evolution"},
    "evolution, blocks": {**UNITS, "strategy": "evolution", "granularity": "block"},
    "evolution, blocks, screened": {
        **UNITS,
        "strategy": "evolution",
        "granularity": "block",
        **SCREENED,
    },
    "evolution from uniform width": {**UNITS, "strategy": "evolution", "founders": 0},
    "local search": {**UNITS, "strategy": "local"},
    "uniform width": NO_SEARCH,
    "uniform width, new weights": {**NO_SEARCH, "weights": "fresh"},
}
"""Overrides of a recipe for each way to search. `uniform width` evaluates one network only: the
teacher shrunk by one factor to the budget, trained by the same final training."""

USUAL = ("policies", "random actions", "evolution", "uniform width")

STARTS: dict[str, Literal["auto"]] = {SHIPPED: "auto", SHIPPED_SCREENED: "auto"}
"""Those that do not start from new policies."""
