"""Policies that a search starts from, learned elsewhere: copied into its run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hwn2n.errors import InputError
from hwn2n.run.folder import STARTING, RunFolder
from hwn2n.search.choices.actions import SHRINK_VALUES
from hwn2n.search.choices.features import FEATURE_COUNTS
from hwn2n.search.policies import load_policy, save_policy
from hwn2n.search.settings import Settings


def keep_policies(
    policies: Iterable[str | os.PathLike[str]], folder: RunFolder, settings: Settings
) -> None:
    """Copy them into the folder, each as that of its stage.

    Raises `InputError` for a policy that does not suit the settings, or any where none is used.
    """
    for path in policies:
        if settings.strategy != "policies":
            raise InputError(
                "policies to start from need the strategy policies, but strategy is "
                f"{settings.strategy}"
            )
        _keep(path, folder, settings)


def starting_policies(folder: RunFolder) -> dict[str, Path]:
    """The policies that the run was told to start from, by stage."""
    return {path.stem.removeprefix(STARTING): path for path in folder.policies.glob(f"{STARTING}*")}


def _keep(path: str | os.PathLike[str], folder: RunFolder, settings: Settings) -> None:
    policy, meta = load_policy(path, features=settings.features)
    if policy.kind not in ("removal", "shrinkage"):
        raise InputError(f"{path}: must hold a removal or shrinkage policy, not {policy.kind}")
    read = FEATURE_COUNTS[settings.features]
    actions = 2 if policy.kind == "removal" else len(SHRINK_VALUES)
    if (policy.n_features, policy.n_actions) != (read, actions):
        raise InputError(
            f"{path}: the policy must read {read} features of a layer and have {actions} actions, "
            f"but reads {policy.n_features} and has {policy.n_actions}"
        )
    kept = folder.policies / f"{STARTING}{policy.kind}.safetensors"
    if kept.exists():
        raise InputError(f"{path}: there must be one {policy.kind} policy to start from, not two")
    save_policy(kept, policy, meta)
