"""Power and energy: finding a meter, and reading it while a network runs."""

from hwn2n.hardware.power.base import Missing, PowerSource
from hwn2n.hardware.power.idle import IdleReading, measure_idle
from hwn2n.hardware.power.probe import find_source
from hwn2n.hardware.power.sample import PowerSample
from hwn2n.hardware.power.window import measure_power

__all__ = [
    "IdleReading",
    "Missing",
    "PowerSample",
    "PowerSource",
    "find_source",
    "measure_idle",
    "measure_power",
]
