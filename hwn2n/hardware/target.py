"""A target: a device, a runtime and how a network is measured on it.

`Target` is what the search and the commands need of one; `local_target.LocalTarget` runs networks
on this machine, and `targets.build_target` finds one by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from hwn2n.budget.cost import Cost
from hwn2n.budget.target_schema import Precision
from hwn2n.hardware.measurement import FULL, Beside, Measurement, MeasurementProtocol


class Target(ABC):
    """What measures a network. A column that it cannot measure is unavailable, never 0."""

    precision: Precision = "fp32"
    """Of the weights that it measures and of their bytes."""

    preferences: Mapping[str, int] = MappingProxyType({})
    """Settings that suit students for it (`round_to`, `min_width`), unless a search is told
    otherwise; they do not change what is measured."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that stands in results, such as "cpu"."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """The machine and the settings as JSON values; costs compare only where these agree."""

    @abstractmethod
    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        """For each of `columns` that cannot be had here, the reason why; empty if all can.

        Learned columns (the accuracies) are never among them: they come from training, and no
        target has a say in that.
        """

    @abstractmethod
    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        """The readings of `columns` for `model` on images of `input_shape` (C, H, W).

        Learned and unavailable columns are absent from the result. The model is left untouched.
        Raises MeasurementError where the model cannot be counted or run.
        """

    def measure_beside(
        self,
        student: nn.Module,
        teacher: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        teacher_columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Beside:
        """The readings of `columns` of a student and of `teacher_columns` of its teacher.

        One after the other, unless the target can do better.
        """
        asked = list(teacher_columns)
        whole = self.measure(teacher, input_shape, asked, protocol) if asked else {}
        return Beside(self.measure(student, input_shape, columns, protocol), whole)

    def examine(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Measurement:
        """The same with raw samples, conditions and notes, where the target keeps them."""
        return Measurement(self.measure(model, input_shape, columns, protocol))
