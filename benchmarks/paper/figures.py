"""What the paper reports (Ashok et al., ICLR 2018, arXiv 1709.06030), for the tables of ours.

The paper's text was not at hand when this was written. Figures that the project's own documents
quote are `checked`; the others are from memory of the tables, agree with themselves (teacher's
parameters by compression are the student's), and are shown with a question mark until somebody has
compared them with the paper. Where nothing was known for sure, there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv 1709.06030"
UNCHECKED = "?"
LEGEND = f"{UNCHECKED} from memory, not yet compared with the paper's text"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One network of the paper: test accuracy in per cent, parameters, and times smaller."""

    accuracy: float | None = None
    params: float | None = None
    compression: float | None = None
    checked: bool = False

    @property
    def mark(self) -> str:
        """A question mark behind what nobody has compared with the paper."""
        return "" if self.checked else UNCHECKED

    @property
    def accuracy_text(self) -> str:
        """Such as "98.91 %", or nothing."""
        return "" if self.accuracy is None else f"{self.accuracy:.2f} %{self.mark}"

    @property
    def compression_text(self) -> str:
        """Such as "553x", or nothing."""
        return "" if self.compression is None else f"{self.compression:g}x{self.mark}"


@dataclass(frozen=True, kw_only=True)
class Compression:
    """A block of table 1: a teacher and its students after one stage and after both."""

    teacher: Figure
    stage1: Figure
    both: Figure | None = None


def _block(
    teacher: tuple[float, float],
    stage1: tuple[float, float, float],
    both: tuple[float, float, float] | None = None,
) -> Compression:
    def student(values: tuple[float, float, float]) -> Figure:
        accuracy, params, compression = values
        return Figure(accuracy=accuracy, params=params, compression=compression)

    return Compression(
        teacher=Figure(accuracy=teacher[0], params=teacher[1]),
        stage1=student(stage1),
        both=None if both is None else student(both),
    )


TABLE_1: dict[str, Compression] = {
    "mnist-vgg13": _block((99.54, 9.4e6), (99.55, 73e3, 127)),
    "cifar10-vgg19": _block((91.97, 20.2e6), (92.05, 1.7e6, 11.8), (91.64, 984e3, 20.53)),
    "cifar10-resnet18": _block((92.01, 11.17e6), (91.97, 2.12e6, 5.26), (91.81, 1.0e6, 11.10)),
    "cifar10-resnet34": _block((92.05, 21.28e6), (93.54, 3.87e6, 5.5), (92.35, 2.07e6, 10.2)),
    "svhn-resnet18": _block((95.24, 11.17e6), (95.66, 2.24e6, 4.97), (95.38, 564e3, 19.8)),
    "cifar100-resnet18": _block((72.22, 11.22e6), (69.64, 4.76e6, 2.35), (68.01, 2.42e6, 4.64)),
    "cifar100-resnet34": _block((72.86, 21.33e6), (70.11, 4.25e6, 5.02)),
    "caltech256-resnet18": _block((47.65, 11.31e6), (44.71, 3.62e6, 3.12)),
}
"""All from memory. Nothing sure is known of Conv4 and of ImageNet32x32."""

MNIST_20K = Figure(accuracy=98.91, compression=553, checked=True)
"""Table 4: VGG-13 on MNIST within 20,000 parameters."""

CIFAR10_1M = Figure(compression=35, checked=True)
"""Table 4: VGG-19 on CIFAR-10 within a million."""
