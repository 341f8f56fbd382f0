"""The command line: parse, call one function of `hwn2n.commands`, print, exit code.

Nothing here imports torch until a command runs, so that `--help` and `--version` answer at once.
"""

from hwn2n.cli.app import app, main

__all__ = ["app", "main"]
