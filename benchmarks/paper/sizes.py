"""How much of an experiment is done: all of it, or less of it where a machine is too slow.

A reduced experiment is another experiment. So whatever it says, it says with its size beside it,
and its runs and teachers lie in folders of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hwn2n.distil.recipes import TrainSettings
from hwn2n.network.teachers import vgg


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is cut; None leaves it as the recipe has it.

    `images`: of the train split, for teacher, search and final training; `search_images` of them
    for a candidate. `epochs`: at most so many of each training. `updates` and `rollouts`: at most,
    of each stage. `narrower`: every layer of teachers, and of students that people designed, has
    so many times fewer channels.
    """

    name: str
    images: int | None = None
    search_images: int | None = None
    validation_images: int | None = None
    epochs: int | None = None
    search_epochs: int | None = None
    updates: int | None = None
    rollouts: int | None = None
    narrower: int = 1

    @property
    def is_full(self) -> bool:
        """Whether nothing is cut."""
        return self == FULL

    def describe(self) -> str:
        """For people: "in full", or what is cut."""
        if self.is_full:
            return "in full"
        cuts = [
            (self.images, "{:,} train images"),
            (self.search_images, "{:,} for a candidate"),
            (self.validation_images, "{:,} validation images in the search"),
            (self.updates, "{} updates a stage"),
            (self.rollouts, "{} rollouts"),
            (self.search_epochs, "{} epochs of search training"),
            (self.epochs, "{} epochs of final training"),
        ]
        said = [text.format(value) for value, text in cuts if value is not None]
        text = f"{self.name}: at most {', '.join(said)}"
        if self.narrower > 1:
            text += f"; teachers and designed students have {self.narrower} times fewer channels"
        return text

    def arch(self, name: str) -> str:
        """A VGG or ResNet of the paper at this size, and any other as it is."""
        if self.narrower == 1 or not name.startswith(("vgg", "resnet")):
            return name
        return f"{name}-w{vgg.WIDTH // self.narrower}"

    def training(self, settings: TrainSettings) -> TrainSettings:
        """A training cut to this size; a stepped schedule becomes a cosine, to end at 0 too."""
        if self.is_full:
            return settings
        epochs = min(settings.epochs, self.epochs or settings.epochs)
        cut = replace(settings, epochs=epochs, max_images=_least(settings.max_images, self.images))
        if epochs < settings.epochs and settings.schedule == "step":
            cut = replace(cut, schedule="cosine", milestones=(), gamma=0.1, weight_decay_until=None)
        return cut

    def overrides(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What cuts a search to this size; `settings` as `settings_to_json` gives them."""
        if self.is_full:
            return {}
        whole = TrainSettings(**_tuples(settings["final"]))
        final = self.training(whole)
        train = TrainSettings(**_tuples(settings["train"]))
        found: dict[str, Any] = {
            # only what is cut: "augment: none" would refuse the data's own
            "final": {
                name: _plain(value)
                for name, value in vars(final).items()
                if value != getattr(whole, name)
            },
            "train.epochs": min(train.epochs, self.search_epochs or train.epochs),
            "train.max_images": _least(train.max_images, self.search_images or self.images),
            "validation_images": _least(settings["validation_images"], self.validation_images),
        }
        for stage in ("removal", "shrinkage"):
            for name, most in (("updates", self.updates), ("rollouts", self.rollouts)):
                found[f"{stage}.{name}"] = min(settings[stage][name], most or 10**9)
        if settings["recalibrate_images"] and self.images:
            found["recalibrate_images"] = min(settings["recalibrate_images"], self.images)
        return found


def _least(a: int | None, b: int | None) -> int | None:
    given = [value for value in (a, b) if value is not None]
    return min(given) if given else None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


FULL = Size(name="full")

SMALL = Size(
    name="small",
    images=4_000,
    validation_images=1_000,
    epochs=6,
    search_epochs=2,
    updates=6,
    rollouts=5,
)
"""`--reduced`: minutes to hours of one core for a row, rather than days of a GPU."""

NARROW = Size(
    name="narrow",
    images=10_000,
    search_images=4_000,
    validation_images=1_000,
    epochs=10,
    search_epochs=1,
    updates=4,
    rollouts=5,
    narrower=4,
)
"""`--narrow`: VGGs and ResNets on a core without a GPU, ten minutes to an hour for a row."""

TINY = Size(
    name="tiny",
    images=300,
    validation_images=100,
    epochs=2,
    search_epochs=1,
    updates=2,
    rollouts=2,
)
"""`--tiny`: seconds, to see that a row works; its figures mean nothing and are never published."""

SIZES: dict[str, Size] = {size.name: size for size in (FULL, SMALL, NARROW, TINY)}
