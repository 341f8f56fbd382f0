"""Who does the work of a run: this process, or workers on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from hwn2n.run.progress import Reporter
from hwn2n.search.executors import Here, RayOptions, Site, ray_options
from hwn2n.search.executors.ray_site import RaySite
from hwn2n.search.executors.ray_start import import_ray


def workers_of(ray: str | RayOptions | None) -> RayOptions | None:
    """What was said about Ray; `InputError` now, before all work, where it is not installed."""
    options = ray_options(ray)
    if options is not None:
        import_ray()
    return options


@contextmanager
def site_of(workers: RayOptions | None, reporter: Reporter) -> Iterator[Site]:
    """Where candidates are measured and trained."""
    if workers is None:
        yield Here()
        return
    with closing(RaySite(workers, reporter.message)) as ray:
        yield ray
