"""Whether a runtime computes the network that it was given."""

from __future__ import annotations

import torch
from torch import Tensor

from hwn2n.errors import MeasurementError

# Largest difference of a logit, as a share of the largest logit. What these let pass is rounding:
# a graph that lost a layer, or has another one's weights, is off by about 1. On a GPU the mantissa
# of float32 convolutions may have the 10 bits of TF32, which is cuDNN's and TensorRT's default.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 0.15}
_TF32_TOLERANCE = 2e-2

_SMALLEST_SCALE = 1e-6


def check_logits(
    runtime: str, found: Tensor, wanted: Tensor, device: torch.device, dtype: torch.dtype
) -> None:
    """Raise MeasurementError unless `found` is `wanted` but for rounding.

    Both (batch, classes), on the host. `wanted` is what eager torch computes with the same weights
    and images on `device` in `dtype`. Where it is infinite or not a number, as a network with
    fresh weights may be in half precision, `found` must be one of them too.
    """
    if found.shape != wanted.shape:
        raise MeasurementError(
            f"runtime {runtime} must give logits of shape {tuple(wanted.shape)}, as eager does; "
            f"found {tuple(found.shape)}"
        )
    found, wanted = found.double(), wanted.double()
    finite = torch.isfinite(wanted)
    if not torch.equal(torch.isfinite(found), finite):
        raise MeasurementError(
            f"runtime {runtime} must give finite logits where eager does; found "
            f"{int(torch.isfinite(found).sum())} finite ones of {found.numel()}, and with eager "
            f"{int(finite.sum())}"
        )
    if not finite.any():
        return
    scale = max(wanted[finite].abs().max().item(), _SMALLEST_SCALE)
    difference = (found - wanted)[finite].abs().max().item() / scale
    tolerance = tolerance_of(device, dtype)
    if difference > tolerance:
        raise MeasurementError(
            f"runtime {runtime} must give the logits that eager gives; found a difference of "
            f"{difference:.2g} of the largest logit, where rounding explains at most {tolerance:g}"
        )


def tolerance_of(device: torch.device, dtype: torch.dtype) -> float:
    """The largest difference that rounding may make, as a share of the largest logit."""
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE[torch.float32])
    if dtype == torch.float32 and device.type == "cuda":
        return max(tolerance, _TF32_TOLERANCE)
    return tolerance
