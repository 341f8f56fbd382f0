"""Where rows are run: the data, the teachers that all of them share, the size, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import hwn2n
from benchmarks.paper.images import Images, find_images
from benchmarks.paper.sizes import FULL, Size
from hwn2n.distil.augment import AUGMENT_BY_DATA
from hwn2n.distil.recipes import TEACHER_RECIPES, TrainSettings, default_recipe
from hwn2n.hardware.targets import build_target
from hwn2n.network.files import load_teacher
from hwn2n.run.folder import read_json, write_json
from hwn2n.run.progress import Reporter, Silent
from hwn2n.run.stop import Stop
from hwn2n.search.recipes import RECIPES, build_settings
from hwn2n.search.settings import Settings, settings_to_json

RUNS = Path("runs/benchmarks/paper")


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What all rows are run with. `target` is the device that latency and power are read on."""

    data_root: Path
    runs: Path = RUNS
    device: str = "cpu"
    size: Size = FULL
    cifar_images: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    stop: Stop = field(default_factory=Stop)

    @property
    def target(self) -> str:
        """The name of the target that measures: the device that trains."""
        return self.device

    def unavailable(self, columns: tuple[str, ...]) -> str | None:
        """Why the first of `columns` that cannot be measured here cannot be; None if all can."""
        reasons = build_target(self.target).unavailable(columns)
        return next((f"{name} cannot be measured: {why}" for name, why in reasons.items()), None)

    def images(self, data: str) -> Images:
        """The data set of that name. Raises `InputError` where it is not here."""
        return find_images(data, self.data_root, self.cifar_images)

    def folder(self, data: str, arch: str) -> Path:
        """Where everything of one teacher lies."""
        return self.runs / self.size.name / f"{data}-{arch}"

    def settings(self, recipe: str, overrides: Mapping[str, Any] | None = None) -> Settings:
        """A recipe cut to the lab's size; `overrides` come last.

        The policies search in either recipe: they are what the paper's experiments are about.
        """
        cut = self.size.overrides(settings_to_json(RECIPES[recipe]))
        given = {**cut, "strategy": "policies", "device": self.device, **(overrides or {})}
        return build_settings(recipe, given)

    def teacher(self, data: str, arch: str, recipe: str) -> Teacher:
        """The teacher, taught if there is none yet, or on from where its training stopped.

        `arch` is the paper's; the lab's size may have it narrower.
        Raises `InputError` where the data is not here, `InterruptedRunError` when stopped.
        """
        images, arch = self.images(data), self.size.arch(arch)
        path = self.folder(data, arch) / f"teacher-{recipe}.pt"
        how = self.size.training(teacher_recipe(recipe, data, arch))
        asked = path.with_suffix(".json")
        settings: dict[str, Any] = _jsonable(asdict(how))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            hwn2n.teach(
                arch,
                data=images.argument,
                data_root=images.root,
                out=path,
                recipe=how,
                device=self.device,
                checkpoint=path.with_suffix(".part"),
                stop=self.stop,
                reporter=self.reporter,
            )
            write_json(asked, settings)
        loaded = load_teacher(path)
        assert loaded.input_shape and loaded.classes, path  # `teach` wrote both
        return Teacher(
            path=path,
            arch=arch,
            images=images,
            params=sum(p.numel() for p in loaded.model.parameters()),
            input_shape=loaded.input_shape,
            classes=len(loaded.classes),
            settings=read_json(asked) if asked.exists() else settings,
            metadata=loaded.metadata,
        )


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A taught network in a file, of images (C, H, W); `settings` are those of its training."""

    path: Path
    arch: str
    images: Images
    params: int
    input_shape: tuple[int, int, int]
    classes: int
    settings: dict[str, Any]
    metadata: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What a result says of it; no paths."""
        names = ("test_accuracy", "validation_accuracy", "epochs", "seconds", "seed", "torch")
        return {
            "arch": self.arch,
            "data": self.images.title,
            "params": self.params,
            "recipe": self.settings,
            **{name: self.metadata.get(name) for name in names},
        }


def teacher_recipe(recipe: str, data: str, arch: str) -> TrainSettings:
    """How the teacher of a row is taught: as the paper's was, or as `hwn2n teach` does.

    The paper's ResNets were loaded ready-made; `paper-resnet` is the common recipe for them.
    """
    if recipe == "fast":
        return default_recipe(data, arch)
    if data in ("mnist", "digits"):
        return TEACHER_RECIPES["paper-mnist"]
    name = "paper-resnet" if arch.startswith("resnet") else "paper-cifar"
    return replace(TEACHER_RECIPES[name], augment=AUGMENT_BY_DATA[data])


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
