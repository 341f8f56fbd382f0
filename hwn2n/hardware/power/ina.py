"""INA3221 and INA238: the power monitors of NVIDIA's Jetson boards, through Linux's hwmon.

An INA3221 has three channels, each with in{n}_label, in{n}_input (mV) and curr{n}_input (mA);
in7 and curr4 are sums, no rails (Linux's Documentation/hwmon/ina3221.rst). An INA238 has one, with
power1_input in uW (Documentation/hwmon/ina238.rst). They are found by /sys/class/hwmon/*/name and
by /sys/bus/i2c/drivers/{chip}/*/hwmon/hwmon*, which is the way NVIDIA documents; the number after
hwmon changes from boot to boot.

What the boards have, by Linux's device trees (tegra234-p3767.dtsi for Orin Nano and NX,
tegra234-p3701.dtsi for AGX Orin, tegra194-p2888.dtsi for AGX Xavier), jetson_stats (pull request
900, Thor) and what NVIDIA answers in its forum (Thor, topic 366461):

- Orin Nano and Orin NX: VDD_IN, the whole module; VDD_CPU_GPU_CV and VDD_SOC are parts of it.
- AGX Orin: no total. VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0 on one chip; on a second one
  VDDQ_VDD2_1V8AO between two channels that are not connected (NC or disabled). That one is memory
  and runs from the 5 V that VIN_SYS_5V0 measures (its channel reads 5 V too), so to add it would
  count it twice. The sum leaves out the converters in front of the rails and the carrier board.
- AGX Thor: VIN of the INA238 on the carrier board, module and carrier together, and a label is not
  sure to be there; VDD_GPU, VDD_CPU_SOC_MSS and VIN_SYS_5V0 of the module's INA3221.
- AGX Xavier: GPU, CPU, SOC, CV, VDDRQ and SYS5V, side by side.

Which rails of another board contain each other is not known, so none is added up: name one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hwn2n.hardware.power.sampler import Sampler
from hwn2n.hardware.sensor import SensorError, number_or_none, read_number, text_or_none

_CHIPS = ("ina3221", "ina238")

TOTALS: tuple[str, ...] = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that are all that the module or the board draws, the widest first."""

SUMS: tuple[tuple[str, ...], ...] = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Rails that lie side by side and together come near to a total, by board."""

# The INA3221's offset of 80 uV (its data sheet) is 40 mA on the 2 mOhm of an AGX Orin, 0.8 W at
# 20 V: an idle rail may read as much below nothing.
_OFFSET_W = 1.0


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One rail of one chip: power in uW, or else volts in mV and amperes in mA."""

    label: str
    power: Path | None
    volts: Path
    amperes: Path

    def watts(self) -> float:
        """Raises SensorError where it does not answer."""
        if self.power is not None:
            return read_number(self.power) * 1e-6
        return read_number(self.volts) * read_number(self.amperes) * 1e-6


class Ina(Sampler):
    """The board's total, or the rail or rails (joined by "+") that the settings name.

    On a board that is no Jetson (`jetson`) an INA238 without a label is not taken for the input.
    Raises SensorError where there is no such rail; it lists what there is.
    """

    name = "ina"
    calibration = "not known: the chip is within 0.3 %, the shunts add their tolerance"

    def __init__(self, sysfs: Path, rail: str | None = None, *, jetson: bool = True) -> None:
        channels = {channel.label: channel for channel in _channels(sysfs, jetson)}
        if not channels:
            raise SensorError("no INA3221 or INA238 sensor under /sys")
        there = f"this board has {', '.join(channels)}"
        names = tuple(rail.split("+")) if rail is not None else _total(channels)
        if not names:
            raise SensorError(f"no rail is known to be the total; {there}: name one as power.rail")
        unknown = [name for name in names if name not in channels]
        if unknown:
            raise SensorError(f"no rail called {unknown[0]!r}; {there}")
        self._channels = [channels[name] for name in names]
        self.rail = "+".join(names)
        self.note = _described(names, picked=rail is not None)
        # A rail that is picked may be that of a part that is switched off; a total never is.
        self.least_w = 0.0 if names[0] in TOTALS else -_OFFSET_W * len(names)
        self.period_s = max(0.1, *(_period(channel) for channel in self._channels))
        self.poll_s = self.period_s / 2
        self.read()

    def read(self) -> float:
        return sum(channel.watts() for channel in self._channels)


def _total(channels: dict[str, Channel]) -> tuple[str, ...]:
    for name in TOTALS:
        if name in channels:
            return (name,)
    for names in SUMS:
        if all(name in channels for name in names):
            return names
    return ()


def _described(names: tuple[str, ...], *, picked: bool) -> str:
    rail = "+".join(names)
    if names in SUMS:
        return (
            f"sum of the module's rails {rail}: the board has no sensor of its total, and the sum "
            "under-reads it by converter losses and the carrier board"
        )
    if names == ("VIN",):
        return "rail VIN: all that goes into the board, carrier and peripherals included"
    if names[0] in TOTALS:
        return f"rail {rail}: the whole module, without the carrier board"
    return f"rail {rail}, as the settings ask: not the board's total" if picked else f"rail {rail}"


def _period(channel: Channel) -> float:
    """How often the chip has a new value, in s; 0 where the driver does not tell (in ms)."""
    milliseconds = number_or_none(channel.volts.parent / "update_interval")
    return 0.0 if milliseconds is None else milliseconds * 1e-3


def _channels(sysfs: Path, jetson: bool) -> Iterator[Channel]:
    """The connected rails of all chips; of two with one label, the later one has its chip added."""
    seen: set[str] = set()
    for chip, folder in _folders(sysfs):
        for channel in _of_chip(chip, folder, jetson):
            if channel.label in seen:
                label = f"{channel.label}@{(folder / 'device').resolve().name}"
                channel = replace(channel, label=label)
            seen.add(channel.label)
            yield channel


def _folders(sysfs: Path) -> list[tuple[str, Path]]:
    """(chip, hwmon folder), each folder once whichever way it was found."""
    found: dict[Path, tuple[str, Path]] = {}
    for folder in sorted((sysfs / "class" / "hwmon").glob("hwmon*")):
        name = text_or_none(folder / "name")
        if name in _CHIPS:
            found[folder.resolve()] = (name, folder)
    for chip in _CHIPS:
        for folder in sorted((sysfs / "bus/i2c/drivers" / chip).glob("*/hwmon/hwmon*")):
            found.setdefault(folder.resolve(), (chip, folder))
    # By the chip's address on its bus (1-0040), which does not change from boot to boot.
    return sorted(found.values(), key=lambda item: (item[0], str(item[1].resolve().parent.parent)))


def _of_chip(chip: str, folder: Path, jetson: bool) -> Iterator[Channel]:
    for number in (1, 2, 3) if chip == "ina3221" else (1,):
        volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
        power = folder / f"power{number}_input"
        if not power.exists() and not (volts.exists() and amperes.exists()):
            continue
        label, whole = text_or_none(folder / f"in{number}_label"), text_or_none(folder / "label")
        if label is None and whole is not None:
            # The name of the chip, which is that of its rail only where there is but one.
            label = f"{whole}-{number}" if chip == "ina3221" else whole
        if label is None and chip == "ina238":
            # The only INA238 of a Jetson board is the one at its input; Linux's driver for it
            # has no labels.
            label = "VIN" if jetson else chip
        if label is None or label == "NC" or number_or_none(folder / f"in{number}_enable") == 0:
            continue
        yield Channel(
            label=label, power=power if power.exists() else None, volts=volts, amperes=amperes
        )
