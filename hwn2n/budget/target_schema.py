"""The YAML schema of a target: a device, a runtime, and how it is measured. Imports no torch.

    apiVersion: hwn2n/v1
    kind: target
    name: jetson-orin-nano
    match: {board: "*Orin Nano*"}      # the machine that measures must be this one
    device: cuda
    runtime: tensorrt
    precision: fp16
    batch: 1
    power_mode: MAXN_SUPER
    power: {source: ina, rail: VDD_IN}
    round_to: 8                        # widths that its kernels like

A target stands in `profiles/`, or inline in a budget without `apiVersion`, `kind` and `name`.
Unknown keys are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

RuntimeName = Literal["eager", "compile", "cuda-graph", "onnxruntime", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16"]
SourceName = Literal["auto", "none", "nvml-energy", "nvml-power", "ina", "rapl"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
DEVICE_PATTERN = r"^(cpu|cuda(:[0-9]{1,3})?)$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e24, le=1e24)]


class Strict(BaseModel):
    """What all models of hwn2n's files are: unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PowerModel(Strict):
    """Where power and energy are read."""

    source: SourceName = Field(
        default="auto",
        description="auto takes the first that works: NVML's energy counter, NVML's power, "
        "INA3221/INA238 sensors of a Jetson board, RAPL",
    )
    rail: Text | None = Field(
        default=None, description="name of the sensor's rail, such as VDD_IN; the board's total"
    )


class MatchModel(Strict):
    """Shell patterns of the machine that this target is; measured columns need them to match."""

    cpu: Text | None = Field(default=None, description='such as "*Cortex-A76*"')
    gpu: Text | None = Field(default=None, description='such as "*H100*"')
    board: Text | None = Field(default=None, description='such as "*Jetson Orin Nano*"')


class TargetModel(Strict):
    """A target, as it may stand inline in a budget."""

    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] = Field(
        default="cpu", description="cpu, cuda or cuda:N"
    )
    runtime: RuntimeName = Field(default="eager", description="what runs the network")
    precision: Precision = Field(default="fp32", description="of weights and inputs")
    batch: Positive | None = Field(
        default=None, description="images of one inference; by default the budget's input, or 1"
    )
    threads: Positive | None = Field(default=None, description="CPU threads; all if left out")
    power_mode: Text | None = Field(
        default=None, description="as nvpmodel names it; must be set when the target is measured"
    )
    power: PowerModel = Field(
        default_factory=PowerModel, description="where power and energy are read"
    )
    match: MatchModel | None = Field(
        default=None, description="the machine that this target is; any if left out"
    )
    round_to: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="students for this target have widths that are multiples of this, unless the "
        "search is told otherwise",
    )
    min_width: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="and none below this"
    )


class ReadingModel(Strict):
    """One measured number in SI units, with its interval."""

    value: Finite = Field(description="in SI units: seconds, bytes, watts, joules; shares of 1")
    how: Literal["exact", "measured"] = Field(default="measured", description="counted or measured")
    low: Finite | None = Field(default=None, description="lower end of the 95 % interval")
    high: Finite | None = Field(default=None, description="upper end of the 95 % interval")


class MeasuredModel(Strict):
    """What one network cost on the target, once."""

    model: Text = Field(description="such as torchvision resnet18")
    input: Annotated[list[Positive], Field(min_length=4, max_length=4)] = Field(
        description="batch, channels, height, width"
    )
    date: Text = Field(description="day of the measurement, such as 2026-01-31")
    versions: dict[str, str] = Field(description="hwn2n, torch, driver and so on")
    machine: dict[str, Any] = Field(default_factory=dict, description="the fingerprint")
    cost: dict[str, ReadingModel] = Field(description="the figures, one for each column")
    notes: list[str] = Field(default_factory=list, description="what a reader should know of them")


class TargetFileModel(TargetModel):
    """A file in `profiles/`."""

    apiVersion: Literal["hwn2n/v1"] = Field(description="version of this schema")  # noqa: N815
    kind: Literal["target"] = Field(description="what tells a target from a budget")
    name: Name = Field(description="name of the target: that of its file, without .yaml")
    description: Text | None = Field(default=None, description="for people; not read")
    measured: list[MeasuredModel] = Field(
        default_factory=list, description="figures measured on this target"
    )

    @field_validator("name")
    @classmethod
    def _no_device(cls, name: str) -> str:
        if name in ("cpu", "cuda"):
            raise ValueError(f"a target must not have the name of a device; found {name!r}")
        return name


def settings_of(model: TargetModel) -> dict[str, Any]:
    """The settings of an inline target as plain data, without what a file adds to them."""
    return model.model_dump(include=set(TargetModel.model_fields))
