"""Latency: timing loops, percentiles that know their error, and two networks side by side."""

from hwn2n.hardware.latency.compare import compare
from hwn2n.hardware.latency.comparison import Comparison
from hwn2n.hardware.latency.pinning import Quiet, quiet
from hwn2n.hardware.latency.placement import Build
from hwn2n.hardware.latency.samples import LatencySample, samples_needed
from hwn2n.hardware.latency.steady import Sampler
from hwn2n.hardware.latency.timing import measure_latency
from hwn2n.hardware.latency.turns import Turns, measure_in_turns

__all__ = [
    "Build",
    "Comparison",
    "LatencySample",
    "Quiet",
    "Sampler",
    "Turns",
    "compare",
    "measure_in_turns",
    "measure_latency",
    "quiet",
    "samples_needed",
]
