"""The teacher's logits for a set of images, computed once and kept between runs.

A large teacher takes longer to classify the training images once than a small student takes to
train on them, and every run of a comparison needs the same logits.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hwn2n.atomic import write_atomic
from hwn2n.distil.accuracy import Watch, predict_logits
from hwn2n.distil.cache import cache_folder
from hwn2n.distil.feed import choose_precision
from hwn2n.distil.images import ImageSet

_LEAST_IMAGES = 5000
"""Fewer are not worth a file."""
_PROBED = 16
"""So many images are classified again before kept logits are believed."""
_AGREES = {"fp32": 1e-3, "bf16": 0.05}
"""The largest difference between these and the kept, as a share of their norm."""


def teacher_logits(
    teacher: nn.Module,
    images: ImageSet,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    precision: str = "auto",
    watch: Watch | None = None,
) -> Tensor:
    """Logits (N, K), float32, of the images as they are, in eval mode.

    `watch` is called before each batch that has to be classified. `precision` is "fp32", "bf16",
    or "auto", which is what is fast on the device; of a training it is that training's, so that
    fp32 means the same on every machine.

    Kept in the cache folder under a digest of the teacher's weights, the images and what else can
    be told of what they depend on. What a teacher's code does with its weights cannot, so some of
    what is found there is compared with what the teacher says now. A cache that cannot be read or
    written costs time and nothing else.
    """
    if precision == "auto":
        precision = choose_precision(device)
    if len(images) < _LEAST_IMAGES:
        return predict_logits(teacher, images, mean, std, device, precision=precision, watch=watch)
    name = _digest(teacher, images, f"{list(mean)} {list(std)} {precision} {torch.__version__}")
    path = cache_folder() / "logits" / f"{name}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, KeyError):
        found = load_file(path)["logits"]
        probed = torch.arange(min(_PROBED, len(images)), device=images.labels.device)
        few = images.subset(probed)
        now = predict_logits(teacher, few, mean, std, device, precision=precision).cpu()
        if found.shape == (len(images), now.shape[1]) and _agree(found[: len(few)], now, precision):
            return found.to(device)
    logits = predict_logits(teacher, images, mean, std, device, precision=precision, watch=watch)
    with contextlib.suppress(OSError, SafetensorError):  # the latter of a full disk
        tensors = {"logits": logits.cpu().contiguous()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda temporary: save_file(tensors, temporary))
    return logits


def _agree(kept: Tensor, now: Tensor, precision: str) -> bool:
    return float((kept - now).norm()) <= _AGREES[precision] * float(now.norm())


def _digest(teacher: nn.Module, images: ImageSet, rest: str) -> str:
    total = hashlib.sha256(rest.encode())
    total.update(repr(teacher).encode())  # modules with their strides, sizes and slopes
    total.update(getattr(teacher, "code", "").encode())  # of a traced network: what it computes
    for name, tensor in sorted(teacher.state_dict().items()):
        total.update(f"{name} {list(tensor.shape)}".encode())
        total.update(_bytes(tensor))
    total.update(_bytes(images.images))
    return total.hexdigest()[:32]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
