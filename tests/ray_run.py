"""A search on workers of this machine, to be interrupted; a script, to be a process of its own.

ray_run.py FOLDER        prints a line after each candidate; exits with 130 where it was stopped
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import small
import torch
import watched

from hwn2n.errors import Hwn2nError
from hwn2n.run.progress import Silent
from hwn2n.run.stop import Stop

HOW: dict[str, Any] = {
    "train__augment": "crop",
    "anchor": False,
    "removal__rollouts": 4,
    "removal__updates": 50,
}


class Saying(Silent):
    """Says when a candidate is done."""

    def stage(self, progress: Any) -> None:
        print(progress.candidates, flush=True)


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    stop = Stop()
    try:
        with stop.on_ctrl_c():
            small.compress(
                folder,
                model=watched.watched_teacher(),
                recipe=small.settings(**HOW),
                target=watched.WatchedTarget(),
                ray="local",
                reporter=Saying(),
                stop=stop,
            )
    except Hwn2nError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
