"""The program trtexec: where it is, what its version knows, and engines that it builds."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from hwn2n.errors import MeasurementError, one_line

_JETSON = Path("/usr/src/tensorrt/bin/trtexec")

_ANSWER_S = 60
_BUILD_S = 3600  # large networks on small boards

_STRONG = "--stronglyTyped"


@dataclass(frozen=True)
class Program:
    """trtexec and the options that its help names."""

    path: str
    options: frozenset[str]

    def known(self, *wanted: str) -> list[str]:
        """Those of `wanted` that this version has."""
        return [option for option in wanted if option in self.options]


def find_trtexec() -> str | None:
    """The path of trtexec, or None."""
    if found := shutil.which("trtexec"):
        return str(Path(found).absolute())  # it is started in another folder
    return str(_JETSON) if os.access(_JETSON, os.X_OK) else None


def trtexec_missing() -> str | None:
    """Why trtexec cannot be used here; None if it can."""
    path = find_trtexec()
    if path is None:
        return "there is no program trtexec"
    try:
        options = _program(path).options
    except MeasurementError as error:
        return str(error)
    if "--onnx" not in options:
        return f"{path} does not know the option --onnx"
    # 11 is strongly typed without a word, and has dropped the options for weak typing
    if _STRONG not in options and "--fp16" in options:
        return f"{path} must be of TensorRT 10 or newer"
    return None


@functools.cache
def _program(path: str) -> Program:
    text = _run([path, "--help"], cwd=None, seconds=_ANSWER_S)
    return Program(path, frozenset(re.findall(r"--\w+", text)))


class Engine:
    """An engine in a folder of its own, built by trtexec from an ONNX file for `device`.

    `size` is that of the engine in bytes. Raises MeasurementError with trtexec's last error where
    it does not build.
    """

    def __init__(self, content: bytes, device: torch.device) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hwn2n-trtexec-")
        self.folder = Path(self._folder.name)
        self._device = device.index or 0
        try:
            (self.folder / "network.onnx").write_bytes(content)
            self.call(
                "--onnx=network.onnx",
                "--saveEngine=network.engine",
                "--skipInference",
                *found_program().known(_STRONG),
            )
            self.size = (self.folder / "network.engine").stat().st_size
        except FileNotFoundError as error:
            self.close()
            raise MeasurementError("trtexec must save its engine, but did not") from error
        except BaseException:
            self.close()
            raise

    def call(self, *arguments: str) -> None:
        """Run trtexec in the folder. Names of files are relative: its options split at a colon."""
        command = [found_program().path, *arguments, f"--device={self._device}"]
        _run(command, cwd=self.folder, seconds=_BUILD_S)

    def read(self, name: str) -> Any:
        """A JSON file that trtexec wrote."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MeasurementError(
                f"trtexec must write {name} as JSON, but: {one_line(error)}"
            ) from error

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def found_program() -> Program:
    """trtexec. Raises MeasurementError if it is not there."""
    path = find_trtexec()
    if path is None:
        raise MeasurementError("trtexec must be there, but is not")
    return _program(path)


def _run(command: list[str], *, cwd: Path | None, seconds: float) -> str:
    """What the command prints. Raises MeasurementError with its last error where it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            timeout=seconds,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"trtexec must end within {seconds:g} s, but did not") from error
    except OSError as error:
        raise MeasurementError(f"trtexec must start, but: {one_line(error)}") from error
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "[E]" in line] or lines
        cause = one_line(errors[-1]) if errors else "it printed nothing"
        raise MeasurementError(f"trtexec must succeed, but ended with {done.returncode}: {cause}")
    return done.stdout + done.stderr
