"""The board: its model, and the power mode that a Jetson board is set to.

/proc/device-tree/model is on all boards that boot with a device tree ("NVIDIA Jetson Orin Nano
Developer Kit", "Raspberry Pi 5 Model B Rev 1.0"), and not on PCs. NVIDIA's nvpmodel keeps the mode
that is set in /var/lib/nvpmodel/status ("pmode:0002"), and what the modes are called in
/etc/nvpmodel.conf ("< POWER_MODEL ID=2 NAME=MAXN_SUPER >"); both can be read without it and
without root, in containers too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from hwn2n.hardware.sensor import text_or_none

_SET = re.compile(r"^\s*pmode:\s*0*(\d+)", re.MULTILINE)
_NAMED = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=0*(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)
_ANSWERED = re.compile(r"^NV Power Mode:\s*(\S+)", re.MULTILINE)
_SECONDS = 5.0


def board_model(proc: Path = Path("/proc")) -> str | None:
    """What the board calls itself; None where it has no device tree."""
    text = text_or_none(proc / "device-tree" / "model")
    return None if text is None else " ".join(text.split())


def is_jetson(proc: Path = Path("/proc")) -> bool:
    """Whether the board is one of NVIDIA's, or a carrier that says so."""
    model = (board_model(proc) or "").lower()
    return "jetson" in model or "nvidia" in model


def power_mode(root: Path = Path("/")) -> str | None:
    """The power mode by its name ("MAXN", "15W"); None where there is none, as on a PC.

    `root` is where the files are looked for; `nvpmodel -q` is asked only if that is the machine's
    own root and the files do not tell.
    """
    status = text_or_none(root / "var/lib/nvpmodel/status")
    number = _SET.search(status) if status is not None else None
    names = dict(_NAMED.findall(text_or_none(root / "etc/nvpmodel.conf") or ""))
    if number is not None and number[1] in names:
        return names[number[1]]
    asked = _ask_nvpmodel() if root == Path("/") else None
    return asked or (f"mode {number[1]}" if number is not None else None)


def _ask_nvpmodel() -> str | None:
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-q"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = _ANSWERED.search(answer.stdout)
    return found[1] if found else None
