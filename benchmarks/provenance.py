"""Where and with what a result was made: the part that all result files have."""

from __future__ import annotations

import time
from typing import Any

from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.run.provenance import versions


def made_here() -> dict[str, Any]:
    """The machine, the versions of what matters on it, and the day."""
    return {"machine": fingerprint(), "versions": versions(), "date": time.strftime("%Y-%m-%d")}
