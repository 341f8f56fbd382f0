"""`hwn2n teach`: train a teacher, for those who do not bring their own."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hwn2n.atomic import destination, writing
from hwn2n.distil.accuracy import accuracy
from hwn2n.distil.data_options import plain_options, whole_number
from hwn2n.distil.datasets import Data, load_data
from hwn2n.distil.losses import CrossEntropy
from hwn2n.distil.recipes import TEACHER_RECIPES, TrainSettings, default_recipe
from hwn2n.distil.state import EpochReport, TrainState
from hwn2n.distil.train import train
from hwn2n.errors import InputError, one_line
from hwn2n.hardware.device import check_device
from hwn2n.network.files import save_teacher
from hwn2n.network.teachers import build_teacher
from hwn2n.run.folder import load_checkpoint, save_checkpoint
from hwn2n.run.progress import Reporter, Silent
from hwn2n.run.provenance import digest_of_data
from hwn2n.run.stop import Stop

_LONGEST_NAME = 200
"""Bytes: file systems take 255, and files that are written meanwhile have longer names."""


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A trained teacher. Accuracies are fractions; the test split was used once, at the end."""

    path: Path
    arch: str
    data: str
    params: int
    validation_accuracy: float
    test_accuracy: float
    test_images: int
    epochs: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "path": str(self.path)}


def teach(
    arch: str,
    *,
    data: str | Data,
    out: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    recipe: TrainSettings | str | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    validation: int | float | None = None,
    device: str = "cpu",
    seed: int = 0,
    split_seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    stop: Stop | None = None,
    reporter: Reporter | None = None,
) -> Taught:
    """Train the architecture `arch` on a data set and write it to `out`.

    `arch` is a name that `network.teachers.build_teacher` takes; `data` as
    `distil.datasets.load_data` takes it, fetched if it is missing and `download` says so; `recipe`
    settings or a name in `TEACHER_RECIPES`, by default what suits the data. `seed` is that of the
    weights and the order of images. `validation` and `split_seed` make the validation split, which
    a later compression must share so that it chooses by images the teacher never saw: they are
    written into the file, and `compress` takes them from there. Ends with the best validation epoch
    where the recipe says so. `checkpoint` is a file that each epoch writes and the next call goes
    on from, to the last bit; it is gone once `out` is there. `stop` ends the training after an
    epoch. Raises `InputError` for what cannot be used, before any training, and
    `InterruptedRunError` when stopped.
    """
    reporter = reporter or Silent()
    out = Path(out)
    image_size, validation = plain_options(image_size, validation)
    seed, split_seed = whole_number(seed, "seed"), whole_number(split_seed, "split_seed")
    _check_writable(out)
    check_device(device)
    if isinstance(data, Data):
        data.check_asked(image_size, validation)
    loaded = (
        data
        if isinstance(data, Data)
        else load_data(
            data,
            root=None if data_root is None else Path(data_root),
            validation=validation,
            seed=split_seed,
            image_size=image_size,
            download=download,
        )
    )
    settings = _settings(recipe, loaded, arch, epochs)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and not those of a GPU
        model = build_teacher(arch, loaded.in_channels, loaded.num_classes, loaded.image_size)
    params = sum(parameter.numel() for parameter in model.parameters())
    stop = stop or Stop()
    kept = None if checkpoint is None else Path(checkpoint)
    source = f"{loaded.name} {data_root} {image_size} {validation} {split_seed}"
    # of other images, which may lie in the same place by now, it would be another training
    asked = f"{arch} {seed} {settings} of {source} {digest_of_data(loaded)}"
    saved = None if kept is None else load_checkpoint(kept)
    if saved is not None and saved.get("asked") != asked:
        saved = None  # of another training
    test = loaded.test()  # now: an image that cannot be read must not cost the training
    reporter.message(
        f"teaching {arch} ({params:,} parameters) on {loaded.name}: {len(loaded.train):,} train, "
        f"{len(loaded.validation):,} validation images, {settings.epochs} epochs"
    )

    def on_epoch(report: EpochReport, state: TrainState) -> None:
        assert report.validation is not None
        text = f"loss {report.loss:.4f}  validation {report.validation.top1:.2%}"
        reporter.epoch("teach", report.epoch, report.epochs, text)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(kept, {"asked": asked, "state": state.to_dict()})
        stop.check()

    result = train(
        model,
        loaded.train,
        CrossEntropy(label_smoothing=settings.label_smoothing),
        settings,
        mean=loaded.mean,
        std=loaded.std,
        validation=loaded.validation,
        device=device,
        seed=seed,
        on_epoch=on_epoch,
        resume_state=None if saved is None else TrainState.from_dict(saved["state"]),
    )
    assert result.validation is not None
    tested = accuracy(model, test, loaded.mean, loaded.std, device)
    save_teacher(
        out,
        model.cpu(),
        arch=arch,
        in_channels=loaded.in_channels,
        num_classes=loaded.num_classes,
        image_size=loaded.image_size,
        classes=loaded.classes,
        mean=loaded.mean,
        std=loaded.std,
        data=loaded.name,
        metadata={
            "validation_accuracy": result.validation.top1,
            "test_accuracy": tested.top1,
            "seed": seed,
            "split_seed": split_seed,
            "validation": validation,
            "image_size": image_size,
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "precision": result.precision,
            "seconds": result.seconds,
            "torch": torch.__version__,
        },
    )
    if kept is not None:
        kept.unlink(missing_ok=True)
    return Taught(
        path=out,
        arch=arch,
        data=loaded.name,
        params=params,
        validation_accuracy=result.validation.top1,
        test_accuracy=tested.top1,
        test_images=tested.n,
        epochs=len(result.history),
        seconds=result.seconds,
    )


def _check_writable(out: Path) -> None:
    """Raise `InputError` now rather than after the training if `out` cannot be written then."""
    if (length := len(os.fsencode(out.name))) > _LONGEST_NAME:
        raise InputError(
            f"{one_line(str(out), 80)}: the file's name must have at most {_LONGEST_NAME} bytes, "
            f"but has {length}"
        )
    with writing(out):
        if out.is_dir():
            raise InputError(f"{out}: the teacher must be written to a file, but this is a folder")
        folder = next((f for f in out.parents if f.exists()), out.parent)
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{out}: must be writable, but {folder} is no folder to write to")
        destination(out)


def _settings(
    recipe: TrainSettings | str | None, data: Data, arch: str, epochs: int | None
) -> TrainSettings:
    if isinstance(recipe, str):
        if recipe not in TEACHER_RECIPES:
            raise InputError(
                f"recipe must be one of {', '.join(TEACHER_RECIPES)}, but got {recipe!r}"
            )
        recipe = TEACHER_RECIPES[recipe]
    settings = recipe or default_recipe(data.name, arch, data.augment)
    return settings if epochs is None else replace(settings, epochs=epochs)
