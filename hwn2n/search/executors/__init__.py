"""Who does the work of candidates, and where."""

from hwn2n.search.executors.base import Executor
from hwn2n.search.executors.in_process import InProcess
from hwn2n.search.executors.options import RayOptions, ray_options
from hwn2n.search.executors.site import Here, Site

__all__ = ["Executor", "Here", "InProcess", "RayOptions", "Site", "ray_options"]
