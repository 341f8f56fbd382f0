"""Who does the work of candidates, and where."""

from hwn2n.search.executors.base import Executor
from hwn2n.search.executors.in_process import InProcess

__all__ = ["Executor", "InProcess"]
