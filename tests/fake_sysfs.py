"""Trees of files as Linux shows them on boards that are not here: `sys`, `proc`, `etc`, `var`.

Names and layout are those of the kernel's hwmon and powercap documentation and of the device trees
of NVIDIA's kernel; /sys/class/hwmon and /sys/bus hold links into /sys/devices, as they do there.
"""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, **files: object) -> Path:
    """Files of one line each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


class FakeMachine:
    """A file system root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs = root / "sys"
        self.proc = root / "proc"
        (self.sysfs / "class/hwmon").mkdir(parents=True)
        self._hwmons = 0

    def hwmon(self, device: str, *, driver: str | None = None, **files: object) -> Path:
        """A sensor chip; `device` is its folder below /sys/devices, "i2c-1/1-0040"."""
        home = self.sysfs / "devices" / device
        folder = write(home / f"hwmon/hwmon{self._hwmons}", **files)
        (folder / "device").symlink_to(home)
        (self.sysfs / f"class/hwmon/hwmon{self._hwmons}").symlink_to(folder)
        if driver is not None:
            drivers = self.sysfs / "bus/i2c/drivers" / driver
            drivers.mkdir(parents=True, exist_ok=True)
            (drivers / home.name).symlink_to(home)
        self._hwmons += 1
        return folder

    def ina3221(self, address: str, *rails: tuple[str, int, int] | None) -> Path:
        """A chip with (label, mV, mA) a channel; None for one that is not connected."""
        files: dict[str, object] = {"name": "ina3221"}
        for number, rail in enumerate(rails, start=1):
            label, millivolts, milliamperes = rail or ("NC", 0, 0)
            files |= {
                f"in{number}_label": label,
                f"in{number}_input": millivolts,
                f"curr{number}_input": milliamperes,
                f"in{number}_enable": 1,
            }
        # The sum of the shunts: a channel of the driver, and no rail.
        files |= {"in7_label": "sum of shunt voltages", "in7_input": 999, "curr4_input": 9999}
        return self.hwmon(f"platform/c240000.i2c/i2c-1/{address}", driver="ina3221", **files)

    def model(self, name: str) -> None:
        (self.proc / "device-tree").mkdir(parents=True, exist_ok=True)
        (self.proc / "device-tree/model").write_bytes(name.encode() + b"\0")

    def nvpmodel(self, mode: int, *names: str) -> None:
        write(self.root / "var/lib/nvpmodel", status=f"pmode:{mode:04d}\nfmode:quiet")
        lines = [
            f"< POWER_MODEL ID={i} NAME={name} >\nCPU_ONLINE CORE_0 1"
            for i, name in enumerate(names)
        ]
        (self.root / "etc").mkdir(exist_ok=True)
        (self.root / "etc/nvpmodel.conf").write_text("# modes\n" + "\n".join(lines) + "\n")


def orin_nano(root: Path) -> FakeMachine:
    """Jetson Orin Nano: VDD_IN of 5 V and 1.6 A is the whole module, 8 W."""
    machine = FakeMachine(root)
    machine.model("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super")
    machine.nvpmodel(2, "15W", "25W", "MAXN_SUPER", "7W")
    machine.ina3221(
        "1-0040", ("VDD_IN", 5000, 1600), ("VDD_CPU_GPU_CV", 5000, 500), ("VDD_SOC", 5000, 300)
    )
    machine.hwmon("platform/pwm-fan", name="pwmfan", pwm1=120)
    _over_current(machine)
    write(machine.sysfs / "class/thermal/thermal_zone0", type="cpu-thermal", temp=48250)
    write(machine.sysfs / "class/thermal/thermal_zone1", type="gpu-thermal", temp="")
    write(machine.sysfs / "class/thermal/thermal_zone8", type="tj-thermal", temp=49000)
    write(
        machine.sysfs / "class/devfreq/17000000.gpu",
        cur_freq=306000000,
        min_freq=306000000,
        max_freq=1020000000,
        governor="nvhost_podgov",
    )
    cooling = machine.sysfs / "class/thermal"
    write(cooling / "cooling_device0", type="pwm-fan", cur_state=2)
    write(cooling / "cooling_device1", type="cpufreq-cpu0", cur_state=0)
    write(cooling / "cooling_device2", type="devfreq-17000000.gpu", cur_state=0)
    return machine


def agx_orin(root: Path) -> FakeMachine:
    """Jetson AGX Orin: 6 + 3 + 5 W on three rails, of which the 5 V rail holds the fourth, 1 W."""
    machine = FakeMachine(root)
    machine.model("NVIDIA Jetson AGX Orin Developer Kit")
    machine.nvpmodel(0, "MAXN", "MODE_15W", "MODE_30W", "MODE_50W")
    machine.ina3221(
        "1-0040",
        ("VDD_GPU_SOC", 20000, 300),
        ("VDD_CPU_CV", 20000, 150),
        ("VIN_SYS_5V0", 5000, 1000),
    )
    machine.ina3221("1-0041", None, ("VDDQ_VDD2_1V8AO", 5000, 200), None)
    _over_current(machine)
    return machine


def thor(root: Path, *, label: str | None = None) -> FakeMachine:
    """Jetson AGX Thor: 31 W into the carrier board, and an idle GPU that reads below nothing."""
    machine = FakeMachine(root)
    machine.model("NVIDIA Jetson AGX Thor Developer Kit")
    machine.ina3221(
        "1-0040",
        ("VDD_GPU", 20000, -20),
        ("VDD_CPU_SOC_MSS", 20000, 325),
        ("VIN_SYS_5V0", 5000, 1300),
    )
    files = {"name": "ina238", "in0_input": 3, "in1_input": 20000, "curr1_input": 1550}
    machine.hwmon(
        "platform/c600000.i2c/i2c-2/2-0044",
        driver="ina238",
        **files,
        power1_input=31_000_000,
        **({} if label is None else {"label": label}),
    )
    return machine


def _over_current(machine: FakeMachine) -> Path:
    return machine.hwmon(
        "platform/soctherm-oc-event",
        name="soctherm_oc",
        oc1_event_cnt=0,
        oc2_event_cnt=0,
        oc3_event_cnt=37,
        oc1_throt_en=1,
    )


RANGE_UJ = 262_143_328_850


def x86(root: Path, *, packages: int = 1) -> FakeMachine:
    """A PC with RAPL: packages with a core and a memory domain, and a platform domain."""
    machine = FakeMachine(root)
    powercap = machine.sysfs / "class/powercap"
    for number in range(packages):
        domain(powercap / f"intel-rapl:{number}", f"package-{number}", 1_000_000)
        domain(powercap / f"intel-rapl:{number}:0", "core", 400_000)
        domain(powercap / f"intel-rapl:{number}:1", "dram", 100_000)
    domain(powercap / f"intel-rapl:{packages}", "psys", 9_000_000)
    domain(powercap / "intel-rapl-mmio:0", "package-0", 1_000_000)
    write(powercap / "intel-rapl", enabled=1)
    cpus = machine.sysfs / "devices/system/cpu"
    for cpu in range(4):
        write(cpus / f"cpu{cpu}/topology", physical_package_id=0, core_id=cpu // 2)
        write(
            cpus / f"cpu{cpu}/cpufreq",
            scaling_governor="powersave",
            scaling_cur_freq=1_200_000 + 100_000 * cpu,
            scaling_max_freq=4_000_000,
            cpuinfo_min_freq=800_000,
            cpuinfo_max_freq=4_700_000,
        )
        write(cpus / f"cpu{cpu}/thermal_throttle", core_throttle_count=5, package_throttle_count=7)
    write(cpus / "cpufreq", boost=1)
    machine.hwmon(
        "platform/coretemp.0", name="coretemp", temp1_label="Package id 0", temp1_input=52000
    )
    write(machine.proc, loadavg="0.50 0.25 0.10 2/96 6494")
    return machine


def domain(folder: Path, name: str, energy_uj: int) -> Path:
    return write(folder, name=name, energy_uj=energy_uj, max_energy_range_uj=RANGE_UJ)
