"""Finding the meter: the order, what proves that it works, and all reasons where there is none."""

import itertools
from pathlib import Path

import fake_sysfs
import pynvml
import pytest
from fake_clock import FakeClock
from fake_nvml import CODES, UNSUPPORTED, FakeGpu, FakeNvml, identity

from hwn2n.budget.target_schema import PowerModel
from hwn2n.hardware.nvml import REASONS
from hwn2n.hardware.power import Missing, PowerSource, find_source

ENERGY, POWER = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"
FIELDS = "nvmlDeviceGetFieldValues"


def rising(step_mj: int = 1000):
    """A counter that moves at each look."""
    count = itertools.count(5_000_000, step_mj)
    return lambda: next(count)


def find(device="cuda", machine=None, *, source="auto", rail=None, gpu=None, known=None, **nvml):
    empty = Path("/nowhere")
    return find_source(
        device,
        PowerModel(source=source, rail=rail),
        nvml=FakeNvml(gpu or FakeGpu(energy_mj=rising()), **nvml),
        sysfs=machine.sysfs if machine else empty,
        proc=machine.proc if machine else empty,
        clock=FakeClock(),
        identify=known or identity(),
    )


def found(*arguments, **settings) -> PowerSource:
    source = find(*arguments, **settings)
    assert isinstance(source, PowerSource), source
    return source


def missing(*arguments, **settings) -> str:
    source = find(*arguments, **settings)
    assert isinstance(source, Missing), source
    assert "\n" not in source.reason
    return source.reason


def test_a_gpu_has_its_energy_counter():
    source = found()
    assert (source.name, source.rail) == ("nvml-energy", "GPU")
    assert str(source) == "nvml-energy (GPU)"
    assert "NVML energy counter of NVIDIA H100 PCIe" in source.note
    assert "25 ms of each 100 ms" in source.note


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_without_a_counter_its_power_is_sampled(code):
    source = found(faults={ENERGY: code})
    assert (source.name, source.period_s, source.momentary) == ("nvml-power", 0.1, True)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_without_momentary_power_the_average_is_read(code):
    source = found(faults={ENERGY: code, FIELDS: code})
    assert (source.name, source.period_s, source.momentary) == ("nvml-power", 1.0, False)
    assert "only its average over 1 s is read" in source.note


@pytest.mark.parametrize(
    ("name", "architecture", "period"),
    [
        ("NVIDIA A100-SXM4-40GB", pynvml.NVML_DEVICE_ARCH_AMPERE, 0.1),
        ("NVIDIA A30", pynvml.NVML_DEVICE_ARCH_AMPERE, 0.1),
        ("NVIDIA A10", pynvml.NVML_DEVICE_ARCH_AMPERE, 1.0),
        ("NVIDIA GeForce RTX 4090", pynvml.NVML_DEVICE_ARCH_ADA, 1.0),
        ("Tesla T4", pynvml.NVML_DEVICE_ARCH_TURING, 0.1),
        ("a GPU of tomorrow", pynvml.NVML_DEVICE_ARCH_UNKNOWN, 1.0),
    ],
)
def test_what_the_average_is_over_depends_on_the_gpu(name, architecture, period):
    gpu = FakeGpu(name=name, architecture=architecture)
    source = found(gpu=gpu, source="nvml-power", faults={FIELDS: UNSUPPORTED})
    assert source.period_s == period


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_each_error_of_nvml_is_a_reason(code):
    reason = missing(faults={ENERGY: code, FIELDS: code, POWER: code})
    assert reason == (
        f"no power source: NVML energy: {REASONS[code]} ({ENERGY}); "
        f"NVML power: {REASONS[code]} ({POWER}); "
        "INA: the board's sensors do not meter a GPU on a card of its own"
    )
    reason = missing(faults={"nvmlInit": code})
    assert reason.startswith(
        f"no power source: NVML energy and NVML power: {REASONS[code]} (nvmlInit); INA: "
    )


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_what_is_not_needed_may_fail(code):
    unneeded = (
        "nvmlDeviceGetName",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceIsMigDeviceHandle",
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetPowerManagementLimit",
        "nvmlDeviceGetArchitecture",
    )
    source = found(faults=dict.fromkeys(unneeded, code))
    assert source.name == "nvml-energy"
    assert source.most_w == 1e5


def test_a_gpu_that_is_split_is_not_metered():
    for gpu in (FakeGpu(mig=1), FakeGpu(is_instance=1)):
        reason = missing(gpu=gpu)
        assert "NVML energy and NVML power: the GPU is split by MIG" in reason


@pytest.mark.parametrize(
    ("energy", "reason"),
    [
        (lambda: 7, "must move; it stood still for 2 s"),
        (lambda: -5000, "must count joules from 0 on; found -5.0 J"),
        (rising(-1000), "must not go down; it went from 499"),
        # 350 W at most, so three times that; microjoules for millijoules are a thousand times more.
        (rising(1_000_000_000), "must count at most 1050 W"),
        (lambda: None, "must answer a number; found None"),
    ],
)
def test_a_counter_that_cannot_be_true_is_no_source(energy, reason):
    answer = missing(gpu=FakeGpu(energy_mj=energy), source="nvml-energy")
    assert answer.startswith("no power source: NVML energy: ")
    assert reason in answer
    # The next one in the order takes over.
    assert found(gpu=FakeGpu(energy_mj=energy)).name == "nvml-power"


@pytest.mark.parametrize(
    ("power", "reason"),
    [
        (0, "must read more than 0 W; found 0 W"),
        (1_050_001, "must read 0 to 1050 W; found 1050 W"),
        (4_000_000_000, "must read 0 to 1050 W; found 4e+06 W"),
    ],
)
def test_a_sampler_that_cannot_be_true_is_no_source(power, reason):
    assert reason in missing(gpu=FakeGpu(power_mw=power), source="nvml-power")


def test_a_sampler_may_fail_in_passing_but_not_for_ever():
    class Busy(FakeNvml):
        def _nvmlDeviceGetFieldValues(self, gpu, fields):  # noqa: N802
            busy = 1 < self.calls[FIELDS] < self.until
            gpu.field_error = pynvml.NVML_ERROR_TIMEOUT if busy else 0
            return super()._nvmlDeviceGetFieldValues(gpu, fields)

    for until, good in ((4, True), (99, False)):
        fake = Busy(FakeGpu())
        fake.until = until
        source = find_source(
            "cuda",
            PowerModel(source="nvml-power"),
            nvml=fake,
            clock=FakeClock(),
            identify=identity(),
        )
        assert isinstance(source, PowerSource) == good


def test_a_cpu_has_no_nvml():
    assert missing("cpu") == (
        "no power source: INA: no INA3221 or INA238 sensor under /sys; "
        "RAPL: no CPU package with RAPL under /sys/class/powercap"
    )
    assert "NVML energy: it meters a GPU, and the device is the CPU" in missing(
        "cpu", source="nvml-energy"
    )


def test_a_gpu_has_no_rapl(tmp_path):
    machine = fake_sysfs.x86(tmp_path)
    assert "RAPL: it meters the CPU, and the device is a GPU" in missing(
        "cuda", machine, source="rapl"
    )
    assert "RAPL" not in missing("cuda", machine, faults={"nvmlInit": UNSUPPORTED})


def test_a_jetson_board_has_its_sensors(tmp_path):
    # NVML is there, and knows neither energy nor power.
    faults = {ENERGY: UNSUPPORTED, FIELDS: UNSUPPORTED, POWER: UNSUPPORTED}
    machine = fake_sysfs.orin_nano(tmp_path)
    source = found("cuda", machine, faults=faults, known=identity(integrated=True))
    assert (source.name, source.rail) == ("ina", "VDD_IN")
    assert found("cpu", machine).name == "ina"


def test_a_card_of_its_own_is_not_metered_by_the_boards_sensors(tmp_path):
    machine = fake_sysfs.agx_orin(tmp_path)
    assert "do not meter a GPU on a card of its own" in missing(
        "cuda", machine, faults={"nvmlInit": UNSUPPORTED}
    )


def test_an_explicit_source_is_this_one_or_none(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    assert missing("cpu", machine, source="rapl") == (
        "no power source: RAPL: no CPU package with RAPL under /sys/class/powercap"
    )
    assert missing("cpu", machine, source="none") == "the target's power source is none"
    assert found(source="nvml-power").name == "nvml-power"


def test_nvml_has_one_rail(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    assert found(rail="GPU").name == "nvml-energy"
    assert "it has the one rail 'GPU', and no 'VDD_SOC'" in missing(
        rail="VDD_SOC", source="nvml-energy"
    )
    integrated = identity(integrated=True)
    assert found("cuda", machine, rail="VDD_SOC", known=integrated).rail == "VDD_SOC"


def test_a_device_that_torch_does_not_see_is_a_reason():
    reason = find_source("cuda:7", PowerModel(), nvml=FakeNvml(), sysfs=Path("/nowhere"))
    assert isinstance(reason, Missing)
    assert "so no cuda:7" in reason.reason
