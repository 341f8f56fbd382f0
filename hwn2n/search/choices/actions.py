"""What the policies' actions mean: from action sequences to decisions.

Both stages describe themselves as `Steps` (what a policy reads, and which of its actions are not
its own) and turn a sequence of actions into a `Decision`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hwn2n.errors import InputError
from hwn2n.network.architecture import owner
from hwn2n.network.decision import Decision
from hwn2n.network.layers import Granularity, Layer, find_layers
from hwn2n.network.operators import rule
from hwn2n.network.planner import Planner
from hwn2n.search.choices.features import FEATURES, FeatureSet, Variable
from hwn2n.search.choices.steps import FREE, Steps
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.policies.removal import KEEP, REMOVE

SHRINK_VALUES = tuple(round(0.1 * i, 1) for i in range(1, 11))
"""The shrinkage policy's actions: the share that is kept (section 3.2.2)."""

KEEP_ALL = len(SHRINK_VALUES) - 1


class RemovalStage:
    """Stage 1: one keep or remove action for each layer of the teacher.

    Layers that cannot be bypassed are steps with a forced action: the policy sees them, and is
    neither asked nor rewarded for them.
    """

    name = "removal"

    def __init__(
        self,
        planner: Planner,
        *,
        features: FeatureSet = "normalised",
        granularity: Granularity = "unit",
    ) -> None:
        self.layers = find_layers(planner, granularity)
        if not self.layers:
            raise InputError("the network must have a layer that hwn2n knows, but has none")
        rows = [FEATURES[features](x, i, self.layers, None) for i, x in enumerate(self.layers)]
        self.steps = Steps(
            names=tuple(layer.name for layer in self.layers),
            features=torch.tensor(rows, dtype=torch.float32),
            forced=torch.tensor([FREE if layer.removable else KEEP for layer in self.layers]),
            tied=torch.full((len(self.layers),), FREE),
        )

    def decision(self, actions: Sequence[int]) -> Decision:
        """The layers whose action is REMOVE are taken out with all that belongs to them."""
        removed = [
            operation
            for layer, action in zip(self.layers, actions, strict=True)
            if action == REMOVE
            for operation in layer.operations
        ]
        return Decision(removed=frozenset(removed))


class ShrinkageStage:
    """Stage 2: one action for each configuration variable of each layer that is left.

    Variables of a convolution are its kernel size and its number of filters, of a linear layer
    its outputs; padding follows the kernel (see `resize.with_kernel`). A width that is tied to an
    earlier layer's copies that layer's action, as does a kernel that two layers share; a width
    that is frozen keeps everything, as does a kernel without the padding to shrink with. `widths`
    says which widths may be chosen (`round_to`, `floor`); an action stands for the one nearest to
    its share.
    """

    name = "shrinkage"

    def __init__(
        self,
        planner: Planner,
        removed: frozenset[str],
        *,
        features: FeatureSet = "normalised",
        granularity: Granularity = "unit",
        widths: Widths = Widths(),  # noqa: B008 - frozen, so one for all
    ) -> None:
        self.removed = removed
        self.widths = widths
        architecture, self.channels = planner.left(removed)
        self.operations = architecture.by_name()
        self.kernels = planner.free_kernels(removed)
        # of a residual branch each layer has widths of its own
        layers = find_layers(planner, "unit" if granularity == "block" else granularity, removed)
        describe = FEATURES[features]
        rows: list[list[float]] = []
        self.variables: list[tuple[Layer, Variable]] = []
        forced: list[int] = []
        tied: list[int] = []
        first_step: dict[tuple[Variable, str], int] = {}
        for i, layer in enumerate(layers):
            for variable in self._variables_of(layer):
                force, tie, shared = FREE, FREE, self._shared(layer, variable)
                if shared is None:
                    force = KEEP_ALL
                else:
                    tie = first_step.setdefault((variable, shared), len(rows))
                    tie = FREE if tie == len(rows) else tie
                rows.append(describe(layer, i, layers, variable))
                self.variables.append((layer, variable))
                forced.append(force)
                tied.append(tie)
        if not rows:
            raise InputError("the network must have a layer to shrink, but has none left")
        self.steps = Steps(
            names=tuple(f"{layer.name}:{variable}" for layer, variable in self.variables),
            features=torch.tensor(rows, dtype=torch.float32),
            forced=torch.tensor(forced),
            tied=torch.tensor(tied),
        )

    def _variables_of(self, layer: Layer) -> list[Variable]:
        op = self.operations[layer.name]
        found: list[Variable] = []
        if rule(op).has_kernel and max(op.config["kernel_size"]) > 1:
            found.append("kernel")
        if self.channels.own_group(layer.name) is not None:
            found.append("width")
        return found

    def _shared(self, layer: Layer, variable: Variable) -> str | None:
        """What steps with one and the same number have in common; None for a frozen one."""
        if variable == "kernel":
            return owner(self.operations[layer.name]) if layer.name in self.kernels else None
        group = self.channels.own_group(layer.name)
        return None if group is None or group.frozen else group.name

    def decision(self, actions: Sequence[int]) -> Decision:
        """Widths and kernels as the shares of `SHRINK_VALUES` that the actions stand for."""
        widths: dict[str, int] = {}
        kernels: dict[str, tuple[int, int]] = {}
        for (layer, variable), action in zip(self.variables, actions, strict=True):
            share = SHRINK_VALUES[action]
            if variable == "kernel":
                size = self.operations[layer.name].config["kernel_size"]
                kernels[layer.name] = (
                    smaller_kernel(size[0], share),
                    smaller_kernel(size[1], share),
                )
                continue
            group = self.channels.own_group(layer.name)
            if group is not None and not group.frozen and group.name not in widths:
                widths[group.name] = self.widths.nearest(group, share)
        return Decision(self.removed, widths, kernels)


def smaller_kernel(size: int, share: float) -> int:
    """The kernel size nearest to `share * size` among those that keep the image centred.

    Only sizes that differ by an even number do; between two, the larger: of 3, shares up to 0.6
    make 1 and shares from 0.7 on keep 3.
    """
    sizes = range(size, 0, -2)
    return min(sizes, key=lambda candidate: abs(candidate - size * share))
