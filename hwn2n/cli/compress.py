"""`hwn2n compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hwn2n.cli import options
from hwn2n.cli.console import AnnouncedStop, print_json, progress, show
from hwn2n.errors import Hwn2nError, InputError

if TYPE_CHECKING:
    from hwn2n.commands.compress import Result

_RAY = ("ray", "ray_cpus", "ray_gpus", "ray_measure_resource")
WITH_RESUME = frozenset({"context", "resume", "set_", "threads", "json", "quiet", *_RAY})
"""Parameters that may stand beside --resume: all others are those of the run, which stay."""

AUTO: Literal["auto"] = "auto"
"""What --policy says for the policies that come with hwn2n."""


def compress(
    context: typer.Context,
    teacher: Annotated[
        str | None,
        typer.Argument(
            metavar="TEACHER",
            help="A file of hwn2n teach, a .pt2 of torch.export.save, or weights with --arch.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="FILE", help="Budget (YAML).  [default: search unconstrained]"
        ),
    ] = None,
    data: options.DataNameOrNone = None,
    data_root: options.DataRoot = None,
    download: options.Download = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="RUN",
            help="Folder of the run, new or empty.  [default: runs/DATE-TIME-teacher-budget]",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run."),
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="paper|fast", help="The settings to start from.")
    ] = "fast",
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings (YAML) over the recipe's."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="One setting, such as train.epochs=2. Wins over --config; may be repeated.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="FILE|auto",
            help="Start from a saved policy (may be repeated); auto: those that come with hwn2n.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="S",
            help="policies (the paper's), evolution or local; random learns nothing, to compare "
            "with.  [default: policies]",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed of the search.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="D", help="What trains: cpu, cuda or cuda:N."),
    ] = None,
    target: options.TargetName = None,
    arch: options.Arch = None,
    input_shape: options.InputShape = None,
    unsafe_pickle: options.UnsafePickle = False,
    image_size: options.ImageSize = None,
    validation: options.Validation = None,
    split_seed: options.SplitSeed = None,
    threads: options.Threads = None,
    ray: options.RayAddress = None,
    ray_cpus: options.RayCpus = None,
    ray_gpus: options.RayGpus = None,
    ray_measure_resource: options.RayMeasureResource = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Find the most accurate student of a teacher inside a budget.

    Validation size, split seed and image size default to those that the teacher was taught with.
    Ctrl-C finishes the candidate in hand and exits with 130 and the line to go on with. With --ray
    candidates train side by side, and the same seeds give the same candidates.

    \b
    Example:
      hwn2n compress teacher.pt --budget budgets/demo.yaml --data digits --out runs/first
      hwn2n compress teacher.pt --budget budgets/demo.yaml --data digits --set final.epochs=10
      hwn2n compress teacher.pt --budget budgets/demo.yaml --data digits --ray local --threads 1
      hwn2n compress --resume runs/first
      hwn2n compress --resume runs/first --set final.lr=0.001
    """
    context.obj.json = json
    if resume is not None:
        _check_alone(context)
    elif teacher is None or data is None:
        raise InputError(
            "TEACHER and --data must be given, or --resume RUN (see hwn2n compress --help)"
        )
    overrides = options.assignments(set_ or ())
    flags = {"seed": seed, "device": device, "strategy": strategy}
    workers = options.ray_options(
        ray, cpus=ray_cpus, gpus=ray_gpus, measure_resource=ray_measure_resource
    )
    shape, size = options.image_shape(input_shape), options.validation_size(validation)

    from hwn2n.commands.compress import compress as begin
    from hwn2n.commands.resume import resume as go_on
    from hwn2n.search.settings_file import load_overrides

    if config is not None:
        overrides = {**load_overrides(config, recipe), **overrides}
    overrides |= {name: value for name, value in flags.items() if value is not None}
    options.use_threads(threads)
    reporter, stop = progress(quiet=quiet), AnnouncedStop()
    try:
        with stop.on_ctrl_c():
            if resume is not None:
                result = go_on(
                    resume,
                    overrides=overrides,
                    threads=threads,
                    ray=workers,
                    reporter=reporter,
                    stop=stop,
                )
            else:
                result = begin(
                    teacher or "",
                    budget=budget,
                    data=data or "",
                    out=out,
                    recipe=recipe,
                    overrides=overrides,
                    policies=_policies(policy or []),
                    arch=arch,
                    input_shape=shape,
                    unsafe_pickle=unsafe_pickle,
                    data_root=data_root,
                    download=download,
                    image_size=image_size,
                    validation=size,
                    split_seed=split_seed,
                    target=target,
                    ray=workers,
                    reporter=reporter,
                    stop=stop,
                )
    except Hwn2nError as error:
        reporter.close()
        if not json and error.result is not None:
            _print(error.result)
        raise
    finally:
        reporter.close()
    print_json(vars(result)) if json else _print(result)
    return 0


def _check_alone(context: typer.Context) -> None:
    """Raise InputError where an option that shapes a run stands beside --resume."""
    for parameter in context.command.params:
        name: Any = parameter.name
        source = context.get_parameter_source(name)
        if name not in WITH_RESUME and source is not None and source.name == "COMMANDLINE":
            shown = "TEACHER" if name == "teacher" else parameter.opts[0]
            raise InputError(
                f"--resume must stand without {shown}: a run goes on as it was begun; only "
                "--set of the final training, --threads, --ray and its options, --json and --quiet "
                "may stand beside it"
            )


def _policies(given: list[str]) -> list[str] | Literal["auto"]:
    """Raise InputError where `auto` stands beside files: it already has a policy for each stage."""
    if AUTO not in given:
        return given
    if given != [AUTO]:
        raise InputError(f"--policy {AUTO} must stand alone, but --policy is {' and '.join(given)}")
    return AUTO


def _print(result: Result) -> None:
    from hwn2n.cli.tables import result_lines, result_table

    show(lambda plain: result_table(result, plain=plain), result_lines(result))
