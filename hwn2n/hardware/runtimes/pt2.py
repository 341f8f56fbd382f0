"""The size of a network as a `.pt2` file, which is what torch loads without the user's code.

torch writes into such a file the images that it was exported with, where on the machine each
operator stood in whose source (stack traces), and the classes of the modules around it. Nothing
needs that to load or run the network, and its length depends on the image and on the folder that
Python is installed in. So it is left out of the size, which then is the same on all machines with
the same torch, for all values of the weights, and for a network that was saved and loaded again.
"""

from __future__ import annotations

import copy
import io
import warnings

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export, save

# What `torch.export.save` writes of a node besides the operator and its arguments.
_DEBUGGING = (
    "stack_trace",
    "nn_module_stack",
    "source_fn_stack",
    "torch_fn",
    "custom",
    "from_node",
)

_EXAMPLE_BATCH = 2  # 1 would be taken for a constant


def pt2_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes of `model` as saved by `torch.export.save`, with only what running it needs.

    `images` (batch, channels, height, width) give shape and precision; the batch of the file is
    dynamic. Raises whatever torch.export does for a network that it cannot capture.
    """
    example = images[:1].cpu().repeat(_EXAMPLE_BATCH, 1, 1, 1)
    buffer = io.BytesIO()  # the name of a path would be part of the file
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = export(
            copy.deepcopy(model).cpu(), (example,), dynamic_shapes=({0: Dim.AUTO},), strict=False
        )
        make_lean(program)
        save(program, buffer)
    return buffer.getbuffer().nbytes


def make_lean(program: ExportedProgram) -> None:
    """Drop, in place, what a program holds for debugging only; it computes the same."""
    program.example_inputs = None
    for module in program.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                for key in _DEBUGGING:
                    node.meta.pop(key, None)
    # entries of modules whose call is not to be restored are their names and no more
    program.module_call_graph[:] = [
        entry for entry in program.module_call_graph if entry.signature is not None
    ]
