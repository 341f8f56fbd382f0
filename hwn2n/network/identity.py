"""Whether two networks are one and the same, whatever files they were read from."""

from __future__ import annotations

import hashlib

import torch
from torch import nn
from torch.export import ExportedProgram

from hwn2n.errors import InputError
from hwn2n.network.capture import capture

_NOT_READ_IN_EVALUATION = "num_batches_tracked"


def model_digest(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    program: ExportedProgram | None = None,
) -> str | None:
    """SHA-256 over the network's operations and its tensors; None where it cannot be captured.

    Equal for the same weights in the same structure on images of `input_shape` (C, H, W), however
    its modules are named and in whatever format it lies on disk: the operator graph in evaluation
    is what counts (`Architecture.key`), and each operation's tensors in the order of that graph.
    `program` is the model as exported already, if it was.
    """
    try:
        captured = capture(model, input_shape, program)
    except InputError:
        return None
    total = hashlib.sha256(captured.architecture.key().encode())
    owned: dict[str, list[str]] = {}
    for path in captured.weights:
        owned.setdefault(path.rpartition(".")[0], []).append(path)
    for index, operation in enumerate(captured.architecture):
        for path in sorted(owned.get(operation.name, ())):
            name = path.rpartition(".")[2]
            if name == _NOT_READ_IN_EVALUATION:
                continue
            tensor = captured.weights[path].detach().cpu().contiguous()
            total.update(f"\n{index} {name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{total.hexdigest()}"
