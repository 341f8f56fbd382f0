"""Sensors in sysfs: the boards' rails and RAPL's domains."""

from pathlib import Path

import fake_sysfs
import numpy as np
import pytest
from fake_clock import FakeClock
from fake_sysfs import RANGE_UJ, FakeMachine

from hwn2n.errors import MeasurementError
from hwn2n.hardware.power.ina import Ina
from hwn2n.hardware.power.rapl import Rapl
from hwn2n.hardware.sensor import SensorError


def test_orin_nano_reads_the_whole_module(tmp_path):
    source = Ina(fake_sysfs.orin_nano(tmp_path).sysfs)
    assert source.rail == "VDD_IN"
    assert source.read() == pytest.approx(8.0)
    assert source.note == "rail VDD_IN: the whole module, without the carrier board"


def test_agx_orin_adds_up_rails_that_do_not_contain_each_other(tmp_path):
    source = Ina(fake_sysfs.agx_orin(tmp_path).sysfs)
    assert source.rail == "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    assert source.read() == pytest.approx(14.0)  # and not 15: memory is in the 5 V rail
    assert "under-reads" in source.note


def test_thor_reads_what_goes_into_the_board(tmp_path):
    for number, label in enumerate((None, "VIN")):
        source = Ina(fake_sysfs.thor(tmp_path / str(number), label=label).sysfs)
        assert source.rail == "VIN"
        assert source.read() == pytest.approx(31.0)
    assert "carrier and peripherals included" in source.note


def test_an_ina238_on_a_board_that_is_no_jetson_is_not_taken_for_its_input(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.hwmon("i2c-1/1-0044", name="ina238", in1_input=12000, curr1_input=500)
    with pytest.raises(
        SensorError, match="no rail is known to be the total; this board has ina238"
    ):
        Ina(machine.sysfs, jetson=False)
    assert Ina(machine.sysfs, "ina238", jetson=False).read() == pytest.approx(6.0)


def test_a_named_rail_is_read_alone(tmp_path):
    machine = fake_sysfs.agx_orin(tmp_path)
    memory = Ina(machine.sysfs, "VDDQ_VDD2_1V8AO")
    assert (memory.rail, memory.read()) == ("VDDQ_VDD2_1V8AO", pytest.approx(1.0))
    assert "not the board's total" in memory.note
    both = Ina(machine.sysfs, "VDD_GPU_SOC+VDD_CPU_CV")
    assert (both.rail, both.read()) == ("VDD_GPU_SOC+VDD_CPU_CV", pytest.approx(9.0))


def test_an_unknown_rail_lists_those_that_exist(tmp_path):
    with pytest.raises(SensorError) as caught:
        Ina(fake_sysfs.agx_orin(tmp_path).sysfs, "VDD_IN")
    assert str(caught.value) == (
        "no rail called 'VDD_IN'; this board has VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, "
        "VDDQ_VDD2_1V8AO"
    )


def test_rails_of_an_unknown_board_are_not_added_up(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.ina3221("7-0040", ("A", 5000, 100), ("B", 5000, 200), None)
    with pytest.raises(SensorError, match=r"this board has A, B: name one as power\.rail"):
        Ina(machine.sysfs)


def test_a_channel_that_is_switched_off_or_not_there_is_no_rail(tmp_path):
    machine = FakeMachine(tmp_path)
    chip = machine.ina3221("7-0040", ("VDD_IN", 5000, 100), ("OFF", 5000, 1), ("GONE", 5000, 1))
    fake_sysfs.write(chip, in2_enable=0)
    (chip / "in3_input").unlink()
    with pytest.raises(SensorError, match=r"this board has VDD_IN$"):
        Ina(machine.sysfs, "OFF")


def test_chips_are_found_through_either_door(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    for link in (machine.sysfs / "class/hwmon").iterdir():
        link.unlink()
    assert Ina(machine.sysfs).read() == pytest.approx(8.0)
    machine = FakeMachine(tmp_path / "other")
    machine.hwmon(
        "i2c-7/7-0040", name="ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=200
    )
    assert Ina(machine.sysfs).read() == pytest.approx(1.0)


def test_two_rails_of_one_name_are_told_apart(tmp_path):
    machine = FakeMachine(tmp_path)
    for address, milliamperes in (("1-0040", 100), ("1-0041", 300)):
        machine.ina3221(address, ("A", 10000, milliamperes))
    assert Ina(machine.sysfs, "A").read() == pytest.approx(1.0)
    assert Ina(machine.sysfs, "A@1-0041").read() == pytest.approx(3.0)


def test_channels_that_share_the_name_of_their_chip_are_told_apart(tmp_path):
    machine = FakeMachine(tmp_path)
    rails = {f"in{n}_input": 5000 for n in (1, 2, 3)}
    rails |= {f"curr{n}_input": 100 * n for n in (1, 2, 3)}
    machine.hwmon("i2c-1/1-0040", driver="ina3221", name="ina3221", label="CHIP", **rails)
    read = [Ina(machine.sysfs, f"CHIP-{number}").read() for number in (1, 2, 3)]
    assert read == pytest.approx([0.5, 1.0, 1.5])


def test_the_chips_own_pace_is_kept(tmp_path):
    machine = fake_sysfs.orin_nano(tmp_path)
    chip = next(machine.sysfs.glob("devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/*"))
    fake_sysfs.write(chip, update_interval=400)
    source = Ina(machine.sysfs)
    assert (source.period_s, source.poll_s) == (0.4, 0.2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "must hold a number; found nothing"), ("x" * 99, "must hold a number"), ("nan", "'nan'")],
)
def test_a_file_that_holds_no_number_is_a_reason(tmp_path, text, reason):
    machine = fake_sysfs.orin_nano(tmp_path)
    chip = next(machine.sysfs.glob("devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/*"))
    (chip / "curr1_input").write_text(text)
    with pytest.raises(SensorError, match=reason):
        Ina(machine.sysfs)


def test_an_idle_part_may_read_a_little_below_nothing_and_a_total_may_not(tmp_path):
    machine = fake_sysfs.thor(tmp_path)
    gpu = Ina(machine.sysfs, "VDD_GPU")
    assert gpu.read() == pytest.approx(-0.4)
    gpu.prove(FakeClock())
    chip = next(machine.sysfs.glob("devices/platform/c600000.i2c/i2c-2/2-0044/hwmon/*"))
    fake_sysfs.write(chip, power1_input=-400_000)
    with pytest.raises(SensorError, match=r"ina \(VIN\) must read 0 to 100000 W; found -0.4 W"):
        Ina(machine.sysfs).prove(FakeClock())


def test_rapl_adds_up_packages_and_nothing_twice(tmp_path):
    source = Rapl(fake_sysfs.x86(tmp_path, packages=2).sysfs)
    assert source.rail == "package-0+package-1"
    assert source.read() == pytest.approx((1.0, 1.0))
    assert source.ranges_j == pytest.approx([RANGE_UJ * 1e-6] * 2)
    assert "without the board" in source.note


def test_rapl_reads_the_domain_that_is_named(tmp_path):
    sysfs = fake_sysfs.x86(tmp_path).sysfs
    assert Rapl(sysfs, "psys").read() == pytest.approx((9.0,))
    assert Rapl(sysfs, "dram").read() == pytest.approx((0.1,))
    with pytest.raises(SensorError, match="no RAPL domain called 'gpu'; there are core, dram, pac"):
        Rapl(sysfs, "gpu")


def test_rapl_without_the_right_to_read_says_so(tmp_path, monkeypatch):
    machine = fake_sysfs.x86(tmp_path)
    real = Path.read_bytes

    def refuses(path):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuses)
    with pytest.raises(SensorError, match="energy_uj is readable by root only"):
        Rapl(machine.sysfs)


def test_rapl_without_packages_says_so(tmp_path):
    machine = FakeMachine(tmp_path)
    fake_sysfs.domain(machine.sysfs / "class/powercap/intel-rapl:0", "psys", 1)
    with pytest.raises(SensorError, match="no RAPL domain of a package; there are psys"):
        Rapl(machine.sysfs)


def test_a_counter_that_starts_again_is_carried_over(tmp_path):
    machine = fake_sysfs.x86(tmp_path, packages=2)
    source = Rapl(machine.sysfs)
    full = RANGE_UJ * 1e-6
    # The first package passes its range by 2 J while the second counts 3 J.
    rise = source.rise((full - 1, 10.0), (1.0, 13.0), seconds=0.1)
    assert rise == pytest.approx(5.0)
    # A reset far from the range would be 262 kJ in 0.1 s.
    with pytest.raises(SensorError, match="must not go down; it went from 50 J to 0 J"):
        source.rise((50.0, 10.0), (0.0, 10.0), seconds=0.1)
    with pytest.raises(SensorError, match=r"must count at most 5000 W; found 600 J in 0\.1 s"):
        source.rise((50.0, 10.0), (650.0, 10.0), seconds=0.1)


def test_a_window_over_a_wrap_is_right(tmp_path):
    machine = fake_sysfs.x86(tmp_path)
    counter = machine.sysfs / "class/powercap/intel-rapl:0/energy_uj"
    clock = FakeClock()
    started = clock.now()

    def follow() -> float:  # 100 W, and the range is passed after half a second
        total = RANGE_UJ - 50_000_000 + int(1e8 * (clock.now() - started))
        counter.write_text(f"{total % RANGE_UJ}\n")
        return 0.005

    device = clock.background(follow)
    with Rapl(machine.sysfs).open_window(clock) as window:
        clock.sleep(1.1)
        trace = window.close()
    device.stop()
    (joules,) = trace.energy(np.array([started + 0.1, started + 1.0]))
    assert joules == pytest.approx(90.0, abs=1.0)  # the file is up to 5 ms old


def test_a_counter_that_is_reset_in_a_window_ends_it(tmp_path):
    machine = fake_sysfs.x86(tmp_path)
    counter = machine.sysfs / "class/powercap/intel-rapl:0/energy_uj"
    clock = FakeClock()
    with Rapl(machine.sysfs).open_window(clock) as window:
        clock.sleep(0.1)
        counter.write_text("0\n")
        clock.sleep(0.1)
        with pytest.raises(MeasurementError, match="must not go down; it went from 1 J to 0 J"):
            window.close()
    assert clock.running == 0
