"""The state of machines that are not here, and what throttled them between two looks."""

import json
import os
from pathlib import Path

import fake_sysfs
import pytest
import torch
from fake_nvml import CODES, UNSUPPORTED, FakeGpu, FakeNvml, identity
from fake_sysfs import FakeMachine, write

from hwn2n.hardware.board import is_jetson
from hwn2n.hardware.conditions import board_model, conditions, power_mode, reason_names
from hwn2n.hardware.nvml import REASONS
from hwn2n.hardware.throttle import ThrottleMonitor

FUNCTIONS = [
    name[1:] for name in vars(FakeNvml) if name.startswith("_nvmlDevice") and "Handle" not in name
]
ORIN = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


def state(machine: FakeMachine, device="cpu", **settings):
    found = conditions(
        device, sysfs=machine.sysfs, proc=machine.proc, root=machine.root, **settings
    )
    assert json.loads(json.dumps(found)) == found
    return found


def test_an_orin_nano_tells_its_model_mode_clocks_and_temperatures(tmp_path):
    assert state(fake_sysfs.orin_nano(tmp_path)) == {
        "temperatures": {"cpu-thermal": 48.25, "tj-thermal": 49.0},  # the GPU is switched off
        "board": {
            "model": ORIN,
            "power_mode": "MAXN_SUPER",
            "gpu": {
                "now_mhz": 306.0,
                "min_mhz": 306.0,
                "max_mhz": 1020.0,
                "governor": "nvhost_podgov",
            },
        },
    }


def test_a_pc_tells_its_load_and_clocks(tmp_path):
    assert state(fake_sysfs.x86(tmp_path)) == {
        "load": [0.5, 0.25, 0.1],
        "cpu": {
            "governors": ["powersave"],
            "now_mhz": {"lowest": 1200.0, "highest": 1500.0},
            "min_mhz": 800.0,
            "max_mhz": 4700.0,
            "allowed_mhz": 4000.0,
            "boost": True,
        },
        "temperatures": {"coretemp Package id 0": 52.0},
    }


def test_a_virtual_machine_has_its_clock_in_cpuinfo(tmp_path):
    machine = FakeMachine(tmp_path)
    write(machine.proc, cpuinfo="processor : 0\ncpu MHz\t\t: 2445.404\n\ncpu MHz\t\t: 2500.0")
    assert state(machine)["cpu"] == {"now_mhz": {"lowest": 2445.404, "highest": 2500.0}}


def test_what_is_not_known_is_left_out(tmp_path):
    machine = FakeMachine(tmp_path)
    assert state(machine) == {}
    write(machine.proc, loadavg="what ever this is")
    write(machine.sysfs / "class/thermal/thermal_zone0", type="x", temp="cold")
    assert state(machine) == {}


def test_a_gpu_tells_all_that_nvml_knows(tmp_path):
    gpu = FakeGpu(clock_reasons=0x4 | 0x1)
    found = state(FakeMachine(tmp_path), "cuda", nvml=FakeNvml(gpu), identify=identity())
    assert found["gpu"] == {
        "name": "NVIDIA H100 PCIe",
        "driver": "580.95.05",
        "temperature": 41,
        "performance_state": "P0",
        "power_w": 100.0,
        "power_limit_w": 350.0,
        "enforced_limit_w": 350.0,
        "persistence_mode": True,
        "ecc": True,
        "mig": False,
        "now": {"graphics_mhz": 1500, "sm_mhz": 1500, "memory_mhz": 1593},
        "max": {"graphics_mhz": 1755, "sm_mhz": 1755, "memory_mhz": 1593},
        "busy_percent": 0,
        "memory_busy_percent": 3,
        "compute_processes": 2,
        "clock_reasons": ["idle", "software power cap"],
    }


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_whatever_nvml_refuses_is_left_out(tmp_path, code):
    machine = FakeMachine(tmp_path)
    everything = set(state(machine, "cuda", nvml=FakeNvml(), identify=identity())["gpu"])
    for function in FUNCTIONS:
        fake = FakeNvml(faults={function: code})
        found = state(machine, "cuda", nvml=fake, identify=identity())["gpu"]
        assert set(found) <= everything
    all_of_them = FakeNvml(faults=dict.fromkeys(FUNCTIONS, code))
    found = state(machine, "cuda", nvml=all_of_them, identify=identity())["gpu"]
    assert found == {"driver": "580.95.05"}


def test_a_gpu_that_cannot_be_asked_says_why(tmp_path):
    for code in CODES.values():
        fake = FakeNvml(faults={"nvmlInit": code})
        found = state(FakeMachine(tmp_path / str(code)), torch.device("cuda", 0), nvml=fake)
        assert found["gpu"] == {"unavailable": f"{REASONS[code]} (nvmlInit)"}


def test_clock_reasons_have_names():
    assert reason_names(0) == []
    assert reason_names(0x20 | 0x80) == ["software thermal slowdown", "hardware power brake"]
    assert reason_names(0x10000 | 0x8) == ["hardware slowdown", "unknown (0x10000)"]


def test_a_model_is_one_line_and_may_be_missing(tmp_path):
    machine = FakeMachine(tmp_path)
    assert board_model(machine.proc) is None
    assert not is_jetson(machine.proc)
    machine.model("Raspberry Pi 5 Model B Rev 1.0")
    assert board_model(machine.proc) == "Raspberry Pi 5 Model B Rev 1.0"
    assert not is_jetson(machine.proc)
    machine.model(ORIN)
    assert is_jetson(machine.proc)


def test_a_power_mode_has_its_name_or_its_number(tmp_path):
    machine = FakeMachine(tmp_path)
    assert power_mode(machine.root) is None
    machine.nvpmodel(1, "MAXN", "MODE_30W")
    assert power_mode(machine.root) == "MODE_30W"
    machine.nvpmodel(10, *(f"M{i}" for i in range(11)))
    assert power_mode(machine.root) == "M10"
    (machine.root / "etc/nvpmodel.conf").unlink()
    assert power_mode(machine.root) == "mode 10"
    write(machine.root / "var/lib/nvpmodel", status="nonsense")
    assert power_mode(machine.root) is None


def test_nvpmodel_is_asked_where_its_files_do_not_tell(tmp_path, monkeypatch):
    program = tmp_path / "nvpmodel"
    program.write_text("#!/bin/sh\necho 'NV Fan Mode:quiet'\necho 'NV Power Mode: 15W'\necho 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if not Path("/var/lib/nvpmodel/status").exists():
        assert power_mode() == "15W"
        program.write_text("#!/bin/sh\nexit 1\n")
        assert power_mode() is None


def monitor(machine: FakeMachine, gpu: FakeGpu | None = None, **settings):
    fake = FakeNvml(gpu or FakeGpu(), **settings)
    device = "cpu" if gpu is None and not settings else "cuda"
    watching = ThrottleMonitor(
        device, nvml=fake, sysfs=machine.sysfs, cpus=range(4), identify=identity()
    )
    return watching, fake


@pytest.mark.parametrize(
    ("bit", "reasons"),
    [
        (0x8, ["GPU hardware slowdown"]),
        (0x20, ["GPU software thermal slowdown"]),
        (0x40, ["GPU hardware thermal slowdown"]),
        (0x80, ["GPU hardware power brake"]),
        # Settings, and the steady state of a GPU that its power limit holds back.
        (0x1 | 0x2 | 0x4 | 0x10 | 0x100, []),
        (0x4 | 0x40, ["GPU hardware thermal slowdown"]),
    ],
)
def test_slowdowns_count_and_the_power_cap_does_not(tmp_path, bit, reasons):
    gpu = FakeGpu()
    watching, _ = monitor(FakeMachine(tmp_path), gpu)
    assert watching.reasons() == []
    gpu.clock_reasons = bit
    assert watching.reasons() == reasons
    gpu.clock_reasons = 0
    assert watching.reasons() == []
    assert watching.blind == []


def test_a_slowdown_between_two_looks_is_noticed(tmp_path):
    gpu = FakeGpu()
    gpu.times_under[270] = 5  # before the monitor began
    watching, _ = monitor(FakeMachine(tmp_path), gpu)
    gpu.times_under[270] += 1_000_000
    assert watching.reasons() == ["GPU hardware thermal slowdown"]
    assert watching.reasons() == []
    gpu.times_under[270] += 1
    gpu.clock_reasons = 0x40
    assert watching.reasons() == ["GPU hardware thermal slowdown"]  # once


def test_an_old_driver_has_the_old_names(tmp_path):
    gpu = FakeGpu(clock_reasons=0x40)
    watching, fake = monitor(FakeMachine(tmp_path), gpu)
    fake.missing.add("nvmlDeviceGetCurrentClocksEventReasons")
    fake.faults["nvmlDeviceGetFieldValues"] = UNSUPPORTED
    assert watching.reasons() == ["GPU hardware thermal slowdown"]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_a_gpu_that_does_not_answer_is_not_watched_and_does_not_fail(tmp_path, code):
    names = ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"]
    machine = fake_sysfs.x86(tmp_path)
    blind, _ = monitor(machine, FakeGpu(), faults=dict.fromkeys(names, code))
    assert blind.reasons() == []
    assert blind.blind == [f"GPU throttling is not watched: {REASONS[code]} ({names[1]})"]
    watching, fake = monitor(machine, FakeGpu(clock_reasons=0x40))
    fake.faults = dict.fromkeys(names, code)
    write(machine.sysfs / "devices/system/cpu/cpu0/thermal_throttle", core_throttle_count=6)
    assert watching.reasons() == ["CPU core thermal throttling"]
    fake.faults = {}
    if code in (10, 19, 21, 27):  # it was busy, and is asked again
        assert watching.reasons() == ["GPU hardware thermal slowdown"]
    else:
        assert watching.reasons() == []
        assert len(watching.blind) == 1


def test_cpus_count_their_throttling(tmp_path):
    machine = fake_sysfs.x86(tmp_path)
    cpus = machine.sysfs / "devices/system/cpu"
    watching, _ = monitor(machine)
    assert watching.reasons() == []
    write(cpus / "cpu2/thermal_throttle", core_throttle_count=6)
    assert watching.reasons() == ["CPU core thermal throttling"]
    write(cpus / "cpu0/thermal_throttle", package_throttle_count=9)
    assert watching.reasons() == ["CPU package thermal throttling"]
    assert watching.reasons() == []


def test_threads_of_a_core_are_read_once(tmp_path):
    machine = fake_sysfs.x86(tmp_path)
    cpus = machine.sysfs / "devices/system/cpu"
    watching, _ = monitor(machine)
    # Its sibling has the same count; the monitor reads that of the first thread.
    write(cpus / "cpu3/thermal_throttle", core_throttle_count=6)
    assert watching.reasons() == []
    elsewhere = ThrottleMonitor("cpu", sysfs=machine.sysfs, cpus=[0, 1])
    write(cpus / "cpu2/thermal_throttle", core_throttle_count=9)
    assert elsewhere.reasons() == []


def test_a_jetson_board_counts_over_current(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    watching, _ = monitor(machine)
    assert watching.reasons() == []  # 37 events were before
    (folder,) = (machine.sysfs / "devices/platform/soctherm-oc-event/hwmon").iterdir()
    write(folder, oc3_event_cnt=38, oc1_event_cnt=1)
    assert watching.reasons() == ["board under-voltage", "board instantaneous over-current"]
    assert watching.reasons() == []


def test_cooling_devices_that_hold_clocks_down_count_and_fans_do_not(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    watching, _ = monitor(machine)
    thermal = machine.sysfs / "class/thermal"
    write(thermal / "cooling_device0", cur_state=3)
    assert watching.reasons() == []
    write(thermal / "cooling_device2", cur_state=1)
    expected = ["cooling device devfreq-17000000.gpu holds clocks down"]
    assert watching.reasons() == expected
    assert watching.reasons() == expected  # as long as it lasts
    write(thermal / "cooling_device2", cur_state=0)
    assert watching.reasons() == []


def test_this_machine_can_be_asked():
    found = conditions("cpu")
    assert json.loads(json.dumps(found)) == found
    assert ThrottleMonitor("cpu").reasons() is not None
