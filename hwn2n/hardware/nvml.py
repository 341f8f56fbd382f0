"""NVML, NVIDIA's management library: the only place that calls it.

The package nvidia-ml-py provides the module `pynvml`. Each call can fail with each of about
thirty codes, and which does depends on the GPU, the driver, the container and the user. Here every
one of them becomes an NvmlError with a reason that a person understands; who asked decides whether
that makes a column unavailable or a window worthless.
"""

from __future__ import annotations

import functools
import math
import weakref
from typing import Any

from hwn2n.errors import one_line
from hwn2n.hardware.sensor import SensorError

# The numbers are NVML's ABI (nvmlReturn_t in nvml.h); the names in the module came with versions.
REASONS: dict[int, str] = {
    1: "NVML was shut down by another part of this process",
    2: "NVML does not know this device or value",
    3: "not supported by this GPU or its driver",
    4: "this user has no permission",
    5: "NVML was already initialised",
    6: "NVML finds no such device",
    7: "NVML's answer did not fit",
    8: "the GPU's external power cables are not attached properly",
    9: "the NVIDIA driver is not loaded",
    10: "the driver did not answer in time",
    11: "the driver has a problem with the GPU's interrupts",
    12: "no NVIDIA driver here (libnvidia-ml.so is not found)",
    13: "the NVIDIA driver is too old to answer",
    14: "the GPU's infoROM is corrupted",
    15: "the GPU is lost: it has fallen off the bus",
    16: "the GPU needs a reset",
    17: "the operating system or the container blocks the GPU",
    18: "driver and NVML library are of different versions (a reboot mends an updated driver)",
    19: "the GPU is in use by something else",
    20: "there is not enough memory",
    21: "the GPU has no data yet",
    22: "not supported on a virtual GPU with ECC",
    23: "there are not enough resources",
    24: "the GPU does not support this frequency",
    25: "module and driver disagree about the version of a structure",
    26: "the driver no longer supports it",
    27: "the GPU is not ready",
    28: "NVML finds no GPU",
    29: "the GPU is in a state that does not allow it",
    30: "the GPU does not support this kind of reset",
    999: "an internal error of the driver",
}

# Timeout, in use, no data yet, not ready.
_PASSING = frozenset({10, 19, 21, 27})

_SUCCESS = 0


class NvmlError(SensorError):
    """NVML did not give an answer. `code` is NVML's number, None where NVML was not reached."""

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(reason, passing=code in _PASSING)
        self.code = code


class Nvml:
    """NVML, initialised once by this object and shut down with it.

    NVML counts its initialisations, so several of these objects, and other users of NVML in this
    process, do not disturb each other. `module` is `pynvml` or what stands for it.
    Raises NvmlError where NVML cannot be initialised.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.call("nvmlInit")
        self._closing = weakref.finalize(self, _shut_down, module)

    def close(self) -> None:
        """Shut NVML down, once; collection of the object and the end of the process do it too."""
        self._closing()

    def call(self, function: str, *arguments: Any) -> Any:
        """The answer of one of NVML's functions, text always as str.

        Raises NvmlError with a reason for every code that NVML returns, for functions that this
        version of the module lacks, and for answers that cannot be decoded.
        """
        asked = getattr(self._module, function, None)
        if asked is None:
            raise NvmlError(f"the installed nvidia-ml-py is too old to ask ({function})")
        try:
            answer = asked(*arguments)
        except self._module.NVMLError as error:
            raise nvml_error(getattr(error, "value", None), function) from error
        except (OSError, ValueError) as error:  # a broken library, an answer that is not UTF-8
            raise NvmlError(f"{type(error).__name__}: {one_line(error)} ({function})") from error
        return answer.decode("utf-8", errors="replace") if isinstance(answer, bytes) else answer

    def number(self, function: str, *arguments: Any) -> float:
        """The same for an answer that must be a finite number, in NVML's unit."""
        answer = self.call(function, *arguments)
        good = isinstance(answer, int | float) and not isinstance(answer, bool)
        if not good or not math.isfinite(answer):
            raise NvmlError(f"{function} must answer a number; found {one_line(repr(answer), 40)}")
        return answer

    def constant(self, name: str, default: int) -> int:
        """A constant of the module; `default`, its number in NVML's ABI, in old versions."""
        return int(getattr(self._module, name, default))

    def fields(self, handle: Any, identifiers: list[int]) -> list[float | NvmlError]:
        """The values of NVML_FI fields, in one call; for each that has none, the reason.

        Raises NvmlError where none can be asked for.
        """
        function = "nvmlDeviceGetFieldValues"
        values = list(self.call(function, handle, identifiers))
        if len(values) != len(identifiers):
            raise NvmlError(
                f"{function} must answer {len(identifiers)} values; found {len(values)}"
            )
        return [_field_value(value, function) for value in values]


# The member of nvmlValue_t by nvmlValueType_t (nvml.h).
_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


def _field_value(value: Any, function: str) -> float | NvmlError:
    code = int(value.nvmlReturn)
    if code != _SUCCESS:
        return nvml_error(code, function)
    member = _MEMBERS.get(int(value.valueType))
    if member is None:
        return NvmlError(f"{function} answered a value of unknown type {value.valueType}")
    number = getattr(value.value, member)
    return number if math.isfinite(number) else NvmlError(f"{function} answered {number}")


def nvml_error(code: int | None, function: str) -> NvmlError:
    """The error for one of NVML's codes."""
    reason = REASONS.get(code if code is not None else -1, f"NVML's error {code}")
    return NvmlError(f"{reason} ({function})", code=code)


def open_nvml(nvml: Any = None) -> Nvml:
    """`nvml` as it is if it is an Nvml, opened if it is a module; None: this machine's.

    This machine's is opened once for the process. Raises NvmlError where there is none.
    """
    if isinstance(nvml, Nvml):
        return nvml
    return Nvml(nvml) if nvml is not None else _of_this_process()


@functools.cache  # errors are not cached, so a driver that is loaded later is found
def _of_this_process() -> Nvml:
    try:
        import pynvml
    except ImportError as error:
        raise NvmlError("the package nvidia-ml-py is not installed") from error
    return Nvml(pynvml)


def _shut_down(module: Any) -> None:
    # At the end of the process, or because the GPU is gone: nobody can use an error any more.
    try:
        module.nvmlShutdown()
    except Exception:
        return
