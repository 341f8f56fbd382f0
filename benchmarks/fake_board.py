"""A board that does not exist: real clocks, and an INA3221 whose files this process writes.

It stands in for a Jetson board where there is none, to see whether power steers a search. The way
of a reading is the real one (sysfs files, sampling, windows, idle, intervals); only the number in
the file is made up: 2 W idle, and up to 8 W more in proportion to the FLOPs of the network that
runs, with 1 % of noise. No figure of it says anything about a device.
"""

from __future__ import annotations

import random
from pathlib import Path

from torch import Tensor, nn

from hwn2n.budget.target_schema import PowerModel, TargetModel
from hwn2n.hardware.counts import count
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.measurement import Duration, Effort
from hwn2n.hardware.power import Missing, PowerSource, find_source
from hwn2n.hardware.runtimes import Executable

IDLE_W = 2.0
BUSY_W = 8.0
_MILLIVOLTS = 5000


class FakeSensor:
    """The files of an INA3221 with one rail, VDD_IN, below `folder`/sys."""

    def __init__(self, folder: Path) -> None:
        self.sysfs = folder / "sys"
        self._chip = self.sysfs / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
        self._chip.mkdir(parents=True)
        self._random = random.Random(0)
        for name, text in {
            "name": "ina3221",
            "in1_label": "VDD_IN",
            "in1_input": str(_MILLIVOLTS),
        }.items():
            (self._chip / name).write_text(f"{text}\n")
        self.show(IDLE_W)

    def show(self, watts: float) -> None:
        """Let the sensor say `watts`, give or take 1 %."""
        noisy = watts * self._random.gauss(1.0, 0.01)
        path = self._chip / "curr1_input"
        temporary = path.with_name("curr1_input.new")
        temporary.write_text(f"{round(noisy * 1e6 / _MILLIVOLTS)}\n")
        temporary.replace(path)  # a reader sees the old number or the new one, never none


class Metered(Executable):
    """An executable that draws power while it runs."""

    def __init__(self, inner: Executable, sensor: FakeSensor, watts: float) -> None:
        self.inner = inner
        self.batch = inner.batch
        self.sensor = sensor
        self.watts = watts

    def sample(self) -> tuple[float, float | None]:
        return self.inner.sample()

    def run(self) -> None:
        self.sensor.show(self.watts)
        self.inner.run()

    def logits(self) -> Tensor:
        return self.inner.logits()

    def close(self) -> None:
        self.inner.close()
        self.sensor.show(IDLE_W)


class FakeBoard(LocalTarget):
    """The CPU with a fake sensor; `flops_at_full` is the work of one image that draws 10 W."""

    def __init__(
        self, folder: Path, flops_at_full: float, durations: dict[Effort, Duration]
    ) -> None:
        power = PowerModel(source="ina", rail="VDD_IN")
        super().__init__(
            TargetModel(threads=1, power=power), name="fake board", durations=durations
        )
        self.sensor = FakeSensor(folder)
        self.flops_at_full = flops_at_full

    def power_of(self, flops: float) -> float:
        """What the sensor shows, but for noise, while a network of `flops` an image runs."""
        return IDLE_W + BUSY_W * min(flops / self.flops_at_full, 1.0)

    def power_source(self) -> PowerSource | Missing:
        return find_source("cpu", self.settings.power, sysfs=self.sensor.sysfs)

    def prepare(self, model: nn.Module, images: Tensor) -> Executable:
        inner = super().prepare(model, images)
        return Metered(inner, self.sensor, self.power_of(count(model, images[:1]).flops))
