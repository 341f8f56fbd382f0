"""The wrapper of NVML: each error of each call is a reason, and each GPU is found by what it is."""

# ruff: noqa: N802 (the names are those of the real module)

import gc

import fake_nvml
import pynvml
import pytest
import torch
from fake_nvml import CODES, PCI, UUID, FakeGpu, FakeNvml, identity

from hwn2n.errors import MeasurementError
from hwn2n.hardware.gpu import find_gpu, torch_identity
from hwn2n.hardware.nvml import REASONS, Nvml, NvmlError, open_nvml

FUNCTIONS = [name[1:] for name in vars(FakeNvml) if name.startswith("_nvml")]


def test_each_code_of_the_module_has_a_reason_of_its_own():
    assert set(CODES.values()) == set(REASONS)
    assert len(set(REASONS.values())) == len(REASONS)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_each_code_of_each_function_becomes_one_line_with_a_reason(code):
    library = Nvml(fake := FakeNvml())
    for function in FUNCTIONS:
        fake.faults = {function: code}
        with pytest.raises(NvmlError) as caught:
            library.call(function)
        assert str(caught.value) == f"{REASONS[code]} ({function})"
        assert caught.value.code == code
        assert isinstance(caught.value, MeasurementError)
        assert caught.value.passing == (code in (10, 19, 21, 27))


def test_a_code_of_a_newer_driver_is_named_by_its_number():
    library = Nvml(FakeNvml(faults={"nvmlDeviceGetCount": 77}))
    with pytest.raises(NvmlError, match=r"NVML's error 77 \(nvmlDeviceGetCount\)"):
        library.call("nvmlDeviceGetCount")


def test_nvml_is_initialised_once_and_shut_down_once():
    fake = FakeNvml()
    library = Nvml(fake)
    assert open_nvml(library) is library
    assert (fake.open, fake.calls["nvmlInit"]) == (1, 1)
    library.close()
    library.close()
    assert (fake.open, fake.calls["nvmlShutdown"]) == (0, 1)


def test_nvml_is_shut_down_when_nobody_needs_it():
    fake = FakeNvml()
    gpu = find_gpu("cuda", fake, identity())
    assert fake.open == 1
    del gpu
    gc.collect()
    assert fake.open == 0


def test_what_could_not_be_initialised_is_not_shut_down():
    fakes = [FakeNvml(faults={"nvmlInit": code}) for code in CODES.values()]
    for fake in fakes:
        with pytest.raises(NvmlError, match="nvmlInit"):
            Nvml(fake)
    gc.collect()
    assert {fake.calls["nvmlShutdown"] for fake in fakes} == {0}


def test_a_shutdown_that_fails_is_nobodys_business():
    fake = FakeNvml(faults={"nvmlShutdown": pynvml.NVML_ERROR_UNINITIALIZED})
    Nvml(fake).close()
    assert fake.calls["nvmlShutdown"] == 1


def test_old_versions_answer_in_bytes():
    fake = FakeNvml()
    fake.as_bytes = True
    assert find_gpu("cuda", fake, identity()).name == "NVIDIA H100 PCIe"
    assert Nvml(fake).call("nvmlSystemGetDriverVersion") == "580.95.05"


def test_a_function_that_the_module_lacks_is_a_reason():
    fake = FakeNvml()
    fake.missing.add("nvmlDeviceGetTotalEnergyConsumption")
    with pytest.raises(NvmlError, match=r"nvidia-ml-py is too old to ask \(nvmlDeviceGetTotal"):
        find_gpu("cuda", fake, identity()).energy()


@pytest.mark.parametrize(
    "error", [OSError(5, "broken"), UnicodeDecodeError("utf8", b"", 0, 1, "x")]
)
def test_a_broken_library_is_a_reason(error):
    class Broken(FakeNvml):
        def _nvmlDeviceGetCount(self):
            raise error

    with pytest.raises(NvmlError, match=r"(Error: .*) \(nvmlDeviceGetCount\)"):
        Nvml(Broken()).call("nvmlDeviceGetCount")


@pytest.mark.parametrize("answer", [None, "7", True, float("nan"), float("inf"), []])
def test_an_answer_that_is_no_number_is_refused(answer):
    gpu = find_gpu("cuda", FakeNvml(FakeGpu(energy_mj=lambda: answer)), identity())
    with pytest.raises(NvmlError, match="nvmlDeviceGetTotalEnergyConsumption must answer a number"):
        gpu.energy()


def test_units_are_watts_and_joules():
    gpu = find_gpu(
        "cuda", FakeNvml(FakeGpu(energy_mj=2500, power_mw=80_500, instant_mw=90_250)), identity()
    )
    assert gpu.energy() == pytest.approx(2.5)
    assert gpu.power_usage() == pytest.approx(80.5)
    assert gpu.power_now() == pytest.approx(90.25)


@pytest.mark.parametrize("kind", range(7))
def test_field_values_of_each_type_are_read(kind):
    value = pynvml.c_nvmlFieldValue_t()
    value.valueType = kind
    setattr(value.value, ["dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal"][kind], 7)

    class Fields(FakeNvml):
        def _nvmlDeviceGetFieldValues(self, gpu, fields):
            return [value]

    library = Nvml(Fields())
    assert library.fields(None, [186]) == [7]
    value.valueType = 99
    (unknown,) = library.fields(None, [186])
    assert "unknown type 99" in str(unknown)
    with pytest.raises(NvmlError, match="must answer 2 values; found 1"):
        library.fields(None, [186, 187])


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_a_field_has_its_own_error(code):
    gpu = find_gpu("cuda", FakeNvml(FakeGpu(field_error=code)), identity())
    with pytest.raises(NvmlError) as caught:
        gpu.power_now()
    assert caught.value.code == code


def test_a_gpu_is_found_by_its_uuid_and_not_by_its_number():
    other = FakeGpu(name="other", uuid="GPU-other", pci="00000000:65:00.0")
    fake = FakeNvml(other, FakeGpu())
    assert find_gpu("cuda", fake, identity(alone=False)).name == "NVIDIA H100 PCIe"
    assert fake.calls["nvmlDeviceGetHandleByIndex"] == 0


def test_a_gpu_is_found_by_its_pci_bus_id_where_there_is_no_uuid():
    fake = FakeNvml(FakeGpu(name="other", uuid="GPU-x", pci="00000000:65:00.0"), FakeGpu())
    assert find_gpu("cuda:1", fake, identity(uuid=None, alone=False)).handle is fake.gpus[1]


def test_the_only_gpu_of_both_is_the_same():
    # NVML of a Jetson board knows neither way.
    faults = {
        "nvmlDeviceGetHandleByUUID": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetHandleByPciBusId": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    }
    assert find_gpu("cuda", FakeNvml(faults=faults), identity()).name == "NVIDIA H100 PCIe"
    for several in (
        (FakeNvml(FakeGpu(), FakeGpu(), faults=faults), identity()),
        (FakeNvml(faults=faults), identity(alone=False)),
    ):
        with pytest.raises(NvmlError, match=f"no GPU with the UUID {UUID} or the PCI bus id {PCI}"):
            find_gpu("cuda", *several)


def test_a_mig_instance_is_found_and_known_for_one():
    fake = FakeNvml(FakeGpu(uuid=f"MIG-{UUID}", pci="x", is_instance=1))
    assert find_gpu("cuda", fake, identity()).split_by_mig()
    assert not find_gpu("cuda", FakeNvml(), identity()).split_by_mig()


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByUUID", "nvmlDeviceGetHandleByPciBusId"])
def test_a_look_up_goes_on_or_says_why_not(function, code):
    fake = FakeNvml(faults={function: code})
    known = identity(
        uuid=None if "Pci" in function else UUID, pci=None if "UUID" in function else PCI
    )
    if code in (2, 3, 6, 13, 28):
        assert find_gpu("cuda", fake, known).handle is fake.gpus[0]
    else:
        with pytest.raises(NvmlError) as caught:
            find_gpu("cuda", fake, known)
        assert caught.value.code == code


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_torch_does_not_see_is_a_reason():
    with pytest.raises(NvmlError, match="torch sees 0 CUDA devices here, so no cuda:1"):
        torch_identity(1)


def test_this_machines_nvml_is_opened_once_or_says_why_not():
    try:
        first = open_nvml()
    except NvmlError as error:
        assert error.code in REASONS
        assert "\n" not in str(error)
    else:
        assert open_nvml() is first
    assert fake_nvml.pynvml is pynvml
