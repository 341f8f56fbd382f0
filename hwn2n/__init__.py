"""hwn2n: the most accurate smaller network inside a measured hardware budget.

What the commands do, from Python: `hwn2n.teach`, `hwn2n.compress`, `hwn2n.resume`,
`hwn2n.profile`, `hwn2n.check`, `hwn2n.compare`, `hwn2n.compare_runs`, `hwn2n.inspect`,
`hwn2n.export`, `hwn2n.report`. They are imported when they are first used, so that what only reads
budgets starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwn2n.commands.check import check
    from hwn2n.commands.compare import compare
    from hwn2n.commands.compare_runs import compare_runs
    from hwn2n.commands.compress import compress
    from hwn2n.commands.export import export
    from hwn2n.commands.inspect import inspect
    from hwn2n.commands.profile import profile
    from hwn2n.commands.report import report
    from hwn2n.commands.resume import resume
    from hwn2n.commands.teach import teach

try:
    __version__ = version("hwn2n")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = [
    "__version__",
    "check",
    "compare",
    "compare_runs",
    "compress",
    "export",
    "inspect",
    "profile",
    "report",
    "resume",
    "teach",
]

_HOMES = {
    "check": "hwn2n.commands.check",
    "compare": "hwn2n.commands.compare",
    "compare_runs": "hwn2n.commands.compare_runs",
    "compress": "hwn2n.commands.compress",
    "export": "hwn2n.commands.export",
    "inspect": "hwn2n.commands.inspect",
    "profile": "hwn2n.commands.profile",
    "report": "hwn2n.commands.report",
    "resume": "hwn2n.commands.resume",
    "teach": "hwn2n.commands.teach",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hwn2n' has no attribute {name!r}")
