"""Greedy pruning by the Taylor criterion of Molchanov et al. 2016 (arXiv 1611.06440).

The criterion of a feature map z is the mean over images of |sum over its pixels of z dL/dz| / M,
what the loss would change by, to first order, without it; each layer's values are divided by their
L2 norm (their section 2.2). The least of all layers goes, a few minibatches of training follow, and
so on. Torch-Pruning knows which channels go together, and cuts them.

1. z is read behind batch normalisation where there is one: z dL/dz is the same before and after the
   ReLU that follows, for its slope is 0 where its output is.
2. Channels that a residual sum ties are one, with the sum of their criteria; the paper prunes plain
   networks only.
3. The criterion is read on images of its own in eval mode, not summed up while training.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwn2n.distil.augment import normalise
from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError

Cut = tuple[str, tuple[int, ...]]
"""A layer by its name, and which of its present outputs go, with all that is tied to them."""

MAPPED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
"""Layers whose outputs have a channel for each feature map."""

BATCH = 64
"""Images of which gradients are taken at a time."""


def _tool() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise InputError("table 2 needs Torch-Pruning: pip install hwn2n[benchmarks]") from error
    return torch_pruning


@dataclass(frozen=True, kw_only=True)
class Normal:
    """The normalisation of images, in units of 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Pruner:
    """A network that loses channels in place. `classifier` is the layer that keeps its outputs."""

    def __init__(
        self, model: nn.Module, input_shape: tuple[int, int, int], classifier: str
    ) -> None:
        self.tool = _tool()
        self.model = model
        self.last = model.get_submodule(classifier)
        self._names = {module: name for name, module in model.named_modules()}
        device = next(model.parameters()).device
        example = torch.zeros(2, *input_shape, device=device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.graph = self.tool.DependencyGraph().build_dependency(model, example)

    def least(self, images: ImageSet, normal: Normal, count: int) -> list[Cut]:
        """The `count` channels of least importance, at most all but one of each group."""
        scored = self._criteria(images, normal)
        ranked: list[tuple[float, str, int]] = []
        left: dict[str, int] = {}
        for group in self._groups():
            name = self._names[group[0].dep.target.module]
            importance = self._importance(group, scored)
            if importance is None:
                continue
            left[name] = len(importance)
            ranked += [(value, name, i) for i, value in enumerate(importance.tolist())]
        chosen: dict[str, list[int]] = {}
        for _, name, channel in sorted(ranked):
            if sum(map(len, chosen.values())) == count:
                break
            if left[name] > 1:
                left[name] -= 1
                chosen.setdefault(name, []).append(channel)
        return [(name, tuple(sorted(channels))) for name, channels in chosen.items()]

    def cut(self, cuts: list[Cut]) -> None:
        """Take channels out. Raises `InputError` for a layer that the network does not have."""
        for name, channels in cuts:
            layer = self.model.get_submodule(name)
            out = self.tool.prune_conv_out_channels
            if isinstance(layer, nn.Linear):
                out = self.tool.prune_linear_out_channels
            group = self.graph.get_pruning_group(layer, out, idxs=list(channels))
            if not self.graph.check_pruning_group(group):
                raise InputError(f"{name}: at least one channel must be left, but none would be")
            group.prune()

    def _groups(self) -> list[Any]:
        kinds = [nn.Conv2d, nn.Linear]
        ignored = [self.last]
        return list(self.graph.get_all_groups(ignored_layers=ignored, root_module_types=kinds))

    def _importance(self, group: Any, scored: dict[nn.Module, Tensor]) -> Tensor | None:
        """The criterion of each channel of the group's first layer, summed over tied maps."""
        members = [
            (dep.target.module, indices, group[i].root_idxs)
            for i, (dep, indices) in enumerate(group)
            if dep.target.module in scored and self.graph.is_out_channel_pruning_fn(dep.handler)
        ]
        normed = [member for member in members if isinstance(member[0], nn.BatchNorm2d)]
        total: Tensor | None = None
        for layer, indices, roots in normed or members:
            values = scored[layer][torch.as_tensor(indices)]
            if total is None:
                total = torch.zeros(len(group[0].idxs), dtype=values.dtype)
            total.index_add_(0, torch.as_tensor(roots), values)
        return total

    def _criteria(self, images: ImageSet, normal: Normal) -> dict[nn.Module, Tensor]:
        """The criterion of each channel of each feature map, (C,), layer by layer of norm 1."""
        device = next(self.model.parameters()).device
        kept: dict[nn.Module, Tensor] = {}
        total: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            kept[module] = output

        layers = [m for m in self.model.modules() if isinstance(m, MAPPED) and m is not self.last]
        hooks = [module.register_forward_hook(keep) for module in layers]
        self.model.eval()
        try:
            for pixels, labels in zip(
                images.images.split(BATCH), images.labels.split(BATCH), strict=True
            ):
                with torch.enable_grad():
                    logits = self.model(normalise(pixels.to(device), normal.mean, normal.std))
                    F.cross_entropy(logits, labels.to(device), reduction="sum").backward()
                for module, maps in kept.items():
                    assert maps.grad is not None
                    product = (maps * maps.grad).detach()
                    product = product.reshape(*product.shape[:2], -1)  # of a linear layer: 1 pixel
                    change = product.mean(2).abs().sum(0)
                    total[module] = total.get(module, 0) + change.double().cpu()
        finally:
            for hook in hooks:
                hook.remove()
            self.model.zero_grad(set_to_none=True)
        return {module: value / value.norm().clamp_min(1e-12) for module, value in total.items()}
