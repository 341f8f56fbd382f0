"""RAPL: the energy counters of x86 CPU packages, through Linux's powercap.

/sys/class/powercap/intel-rapl:N is a domain with `name` (package-0, package-0-die-1, psys),
`energy_uj` and `max_energy_range_uj`, where the counter starts again from 0; intel-rapl:N:M are
parts of a package (core, uncore, dram). See Linux's Documentation/power/powercap/powercap.rst.
AMD's CPUs stand under the same names. The counters step about every millisecond. Since Linux 5.10
only root may read them, because they leak what the CPU computes (CVE-2020-8694).

The total is the sum of the packages. psys, the platform of some laptops, contains the packages and
is not added to them, and intel-rapl-mmio is a second door to the same package.
"""

from __future__ import annotations

import re
from pathlib import Path

from hwn2n.hardware.power.counter import Counter
from hwn2n.hardware.sensor import SensorError, read_number, text_or_none

_DOMAIN = re.compile(r"intel-rapl:\d+(:\d+)?")

# Far above what a machine's packages can draw, far below what a reset would look like.
_MOST_WATTS = 5000.0


class Rapl(Counter):
    """The energy of all CPU packages, or of the domains called `rail`.

    Raises SensorError where there is no such domain, or where it cannot be read.
    """

    name = "rapl"
    calibration = "not known; RAPL measures on recent CPUs and models on old ones"
    period_s = 0.001
    poll_s = 0.02
    most_w = _MOST_WATTS

    def __init__(self, sysfs: Path, rail: str | None = None) -> None:
        domains = _domains(sysfs)
        if not domains:
            raise SensorError("no CPU package with RAPL under /sys/class/powercap")
        names = sorted({name for _, name in domains})
        if rail is None:
            chosen = [(path, name) for path, name in domains if name.startswith("package")]
        else:
            chosen = [(path, name) for path, name in domains if name == rail]
        if not chosen:
            wanted = "of a package" if rail is None else f"called {rail!r}"
            raise SensorError(f"no RAPL domain {wanted}; there are {', '.join(names)}")
        self._files = [path / "energy_uj" for path, _ in chosen]
        self.ranges_j = [read_number(path / "max_energy_range_uj") * 1e-6 for path, _ in chosen]
        self.rail = rail or "+".join(name for _, name in chosen)
        self.note = (
            f"RAPL of {self.rail}: the CPU package alone, without the board, its disks and its "
            "power supply, and on most machines without memory"
        )
        self.read()

    def read(self) -> tuple[float, ...]:
        return tuple(read_number(path) * 1e-6 for path in self._files)


def _domains(sysfs: Path) -> list[tuple[Path, str]]:
    """(folder, name) of each domain, in the order of their numbers."""
    folder = sysfs / "class" / "powercap"
    found = [path for path in folder.glob("intel-rapl:*") if _DOMAIN.fullmatch(path.name)]
    found.sort(key=lambda path: [int(number) for number in path.name.split(":")[1:]])
    return [(path, name) for path in found if (name := text_or_none(path / "name")) is not None]
