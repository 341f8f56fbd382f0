"""Whole pickled modules: `torch.save(model, ...)`. Loading one runs whatever its author wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.errors import InputError, one_line
from hwn2n.network.files.guard import UnsafePickleError

HOW_TO_SAVE = (
    "save torch.save(model.state_dict(), ...) and give --arch, or use torch.export.save; or pass"
    " --unsafe-pickle if you trust whoever made the file"
)


def refuse_pickle(error: UnsafePickleError) -> InputError:
    """The refusal of a pickle, with the ways out."""
    return InputError(f"{error}; {HOW_TO_SAVE}")


def load_pickle(path: Path) -> Any:
    """What the pickle at `path` builds. THIS RUNS THE FILE'S CODE: only after `unsafe_pickle`."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise InputError(
            f"{path}: the pickle must load with this environment, but: {type(error).__name__}:"
            f" {one_line(error)}"
        ) from error
    return content.module if isinstance(content, nn.DataParallel) else content
