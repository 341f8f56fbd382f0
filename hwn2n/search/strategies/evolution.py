"""Regularised evolution (Real et al. 2019, arXiv 1802.01548) over decisions, and local search.

The first candidates are random founders, and then every child is a mutation of a good candidate.
`evolution` takes the best of a random sample of the youngest candidates as the parent, so that no
candidate lives for ever on one lucky reading; `local` takes the best of all. Widths are
proportions: a child is scaled up as far as the teacher's widths allow and then down to what can be
counted of the budget (`projection`), so that what one layer gives up the others gain. A network
that was evaluated before is not proposed again.

The parents are in the ledger, and an iteration's random numbers follow from the seed and its
number, so a search that is resumed goes on as it would have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.layers import Layer, find_layers
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.choices.actions import smaller_kernel
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.rounds import Rounds
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings

STAGE = "evolution"
_ODDS = (0.0, 0.1, 0.2, 0.3, 0.5)
_KINDS, _SHARES = ("width", "layer", "branch", "kernel"), (0.55, 0.15, 0.15, 0.15)
_TRIES = 50
"""So often a child is drawn anew that cannot be built or is known already."""


def run_evolution(rounds: Rounds) -> None:
    """As many candidates as the two stages of the policies would have."""
    settings = rounds.settings
    rollouts = max(settings.removal.rollouts, settings.shrinkage.rollouts)
    count = sum(stage.updates * stage.rollouts for stage in (settings.removal, settings.shrinkage))
    iterations = math.ceil(count / rollouts)
    for iteration in range(iterations):
        earlier = [c for c in rounds.ledger.candidates() if _before(c, iteration)]
        generator = random.Random(derive_seed(settings.seed, STAGE, iteration))
        breeder = Breeder(rounds, earlier, generator)
        breed = breeder.founder if iteration * rollouts < settings.founders else breeder.child
        proposals = [
            Proposal(decision=breed(), place=Place(STAGE, iteration, rollout))
            for rollout in range(min(rollouts, count - iteration * rollouts))
        ]
        # Parents are chosen by accuracy, not by reward: outside the budget there is none to learn.
        rounds.evaluate(proposals, epsilon=0.0, iterations=iterations)


def _before(candidate: Candidate, iteration: int) -> bool:
    return candidate.stage != STAGE or candidate.iteration < iteration


class Breeder:
    """Makes the children of one iteration from the candidates before it."""

    def __init__(
        self, rounds: Rounds, earlier: Sequence[Candidate], generator: random.Random
    ) -> None:
        self.rounds = rounds
        self.random = generator
        self.parents = [c for c in earlier if c.state is not State.ILLEGAL]
        self.known = {c.key for c in earlier}
        self.mutations = Mutations(rounds.planner, rounds.settings, generator)

    def child(self) -> Decision:
        """A mutation of a good candidate, new if one was found in time."""
        return self._new(lambda: self.mutations.mutated(self._parent()))

    def founder(self) -> Decision:
        """A random decision: where all children descend from one, few are far from it."""
        return self._new(self.mutations.random_decision)

    def _new(self, draw: Callable[[], Decision]) -> Decision:
        decision = NOTHING
        for _ in range(_TRIES):
            decision = draw()
            try:
                _, _, key = self.rounds.evaluator.plan(decision)
            except IllegalArchitectureError:
                continue
            if key not in self.known:
                self.known.add(key)
                return decision
        return decision

    def _parent(self) -> Decision:
        settings = self.rounds.settings
        if not self.parents:
            return NOTHING
        if settings.strategy == "local":
            chosen = self.parents
        else:
            alive = self.parents[-settings.population :]
            chosen = self.random.sample(alive, min(settings.tournament, len(alive)))
        return Decision.from_json(max(chosen, key=self._fitness).decision)

    def _fitness(self, candidate: Candidate) -> tuple[float, float, int]:
        """Inside the budget by accuracy (without one by reward); outside by how far."""
        if not self.rounds.evaluator.constraints.rows:
            return (1.0, candidate.reward, -(candidate.id or 0))
        if candidate.satisfied and candidate.accuracy is not None:
            return (1.0, candidate.accuracy, -(candidate.id or 0))
        violation = candidate.terms["violation"]
        return (0.0, -math.inf if violation is None else -violation, -(candidate.id or 0))


class Mutations:
    """Small changes of a decision: a few widths, a layer or a whole residual branch taken out or
    put back, a kernel.
    """

    def __init__(self, planner: Planner, settings: Settings, generator: random.Random) -> None:
        self.planner = planner
        self.allowed = settings.widths
        self.random = generator
        self.layers = [x for x in find_layers(planner, settings.granularity) if x.removable]
        # layer by layer a branch would have to lose accuracy before it no longer costs time
        known = {layer.operations for layer in self.layers}
        whole = [x for x in find_layers(planner, "block") if x.removable]
        self.branches = [x for x in whole if x.operations not in known]

    def mutated(self, parent: Decision) -> Decision:
        """One or two changes; widths are proportions afterwards."""
        child = parent
        for _ in range(1 + (self.random.random() < 0.3)):
            kind = self.random.choices(_KINDS, _SHARES)[0]
            if kind == "branch" and self.branches:
                child = self._toggled(child, self.branches)
            elif kind in ("layer", "branch") and self.layers:
                child = self._toggled(child, self.layers)
            elif kind == "kernel":
                child = self._kernel(child)
            else:
                child = self._widths(child)
        return self._whole(child)

    def random_decision(self) -> Decision:
        """Each layer goes with a probability drawn first, and each width's share is drawn."""
        odds = self.random.choice(_ODDS)
        gone = [layer for layer in self.layers if self.random.random() < odds]
        removed = frozenset(name for layer in gone for name in layer.operations)
        widths = {
            name: self.allowed.nearest(group, self.random.uniform(0.4, 1.0))
            for name, group in self._free(removed).items()
        }
        return self._whole(Decision(removed, widths))

    def _toggled(self, decision: Decision, layers: Sequence[Layer]) -> Decision:
        layer = self.random.choice(layers)
        there = decision.removed.issuperset(layer.operations)
        operations = set(layer.operations)
        removed = decision.removed - operations if there else decision.removed | operations
        return replace(decision, removed=frozenset(removed))

    def _kernel(self, decision: Decision) -> Decision:
        try:
            free = sorted(self.planner.free_kernels(decision.removed))
        except IllegalArchitectureError:
            return decision
        if not free:
            return decision
        name = self.random.choice(free)
        kernels = dict(decision.kernels)
        if name in kernels:
            del kernels[name]
        else:
            height, width = self.planner.teacher.by_name()[name].config["kernel_size"]
            share = self.random.uniform(0.1, 0.9)
            kernels[name] = (smaller_kernel(height, share), smaller_kernel(width, share))
        return replace(decision, kernels=kernels)

    def _widths(self, decision: Decision) -> Decision:
        """One to three widths, by a log-normal factor, or to the next one that is allowed."""
        groups = self._free(decision.removed)
        widths = {name: decision.widths.get(name, group.width) for name, group in groups.items()}
        for name in self.random.sample(sorted(widths), min(len(widths), self.random.randint(1, 3))):
            group, before = groups[name], widths[name]
            factor = math.exp(self.random.gauss(0.0, 0.4))
            changed = self.allowed.nearest(group, min(1.0, before * factor / group.width))
            if changed == before:
                changed = self._next(group, before, up=factor > 1)
            widths[name] = changed
        return replace(decision, widths=widths)

    def _next(self, group: ChannelGroup, width: int, *, up: bool) -> int:
        """The next allowed width in a direction; the same one at the end."""
        steps = range(width + 1, group.width + 1) if up else range(width - 1, 0, -1)
        return next((w for w in steps if self.allowed.at_most(group, w) == w), width)

    def _free(self, removed: frozenset[str]) -> dict[str, ChannelGroup]:
        """The groups whose widths can be chosen in what is left; {} where that is no network."""
        try:
            _, channels = self.planner.left(removed)
        except IllegalArchitectureError:
            return {}
        return {name: group for name, group in channels.groups.items() if not group.frozen}

    def _whole(self, decision: Decision) -> Decision:
        """All widths scaled up together until one of them is the teacher's; kernels of what is
        left only.

        Groups that the decision does not name, such as those of a layer that was put back, take
        the mean share of the others: their whole width would dwarf what the budget left of those.
        """
        groups = self._free(decision.removed)
        shares = {
            name: Fraction(decision.widths[name], group.width)
            for name, group in groups.items()
            if name in decision.widths
        }
        left = self._kernels_left(decision)
        if not shares:
            return replace(decision, widths={}, kernels=left)
        usual = sum(shares.values(), Fraction(0)) / len(shares)
        shares = {name: shares.get(name, usual) for name in groups}
        most = max(shares.values())
        widths = {
            name: self.allowed.nearest(group, float(shares[name] / most))
            for name, group in groups.items()
        }
        return replace(decision, widths=widths, kernels=left)

    def _kernels_left(self, decision: Decision) -> dict[str, tuple[int, int]]:
        try:
            free = self.planner.free_kernels(decision.removed)
        except IllegalArchitectureError:
            return {}
        return {name: size for name, size in decision.kernels.items() if name in free}
