"""What the command line or pytest asks of a run, beside the file: by itself, so that a plan needs nothing that runs.

files + --version --seed --replay ─▶ Options ─with_options─▶ Experiment as it is planned, run and recorded
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.faults.replace import Replace
from chaos.spec import axes
from chaos.stacks import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chaos.model import Experiment, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, as the command line or pytest says it. `notes` go into the recording of each run."""

    target: str = "netns"
    runs: Path = Path("runs")
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    replay: Path | None = None
    recorded: Mapping[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def pairs(given: Iterable[str], option: str = "--version") -> dict[str, str]:
    """Read "etcd=3.5.1" …; UsageError, naming the option, for what is no such pair."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, version = text.partition("=")
        if not (name and equals and version):
            raise UsageError(f"{option} {text}: expected COMPONENT=VERSION, e.g. {option} etcd=3.5.1")
        found[name] = version
    return found


def refuse_other_axes(experiment: Experiment, options: Options, prefix: str = "--") -> None:
    """Raise UsageError for a version or a seed that would run under the name of another, which a matrix gave it.

    Where a step replaces the version, the one asked for is what it is replaced by, and no cell is named by that.
    """
    there, name = axes(experiment), _replaced(experiment)
    replaced = any(isinstance(step.fault, Replace) for step in experiment.steps)
    asked = {
        "version": f"{name}={options.versions[name]}" if name in options.versions and not replaced else "",
        "seed": "" if options.seed is None else str(options.seed),
    }
    for axis, value in asked.items():
        if value and axis in there:
            raise UsageError(
                f"{prefix}{axis} {value}: the matrix of {experiment.path} says itself which {axis}s run, "
                f"{', '.join(there[axis])}; change the list there, or leave out {prefix}{axis}"
            )


def with_options(experiment: Experiment, options: Options) -> Experiment:
    """Return the experiment with the versions and the seed that were asked for on the command line.

    Where a step replaces the version, that is the candidate: it becomes the one asked for, and the file still says
    from which version the upgrade starts.
    """
    given, component, steps = dict(options.versions), _replaced(experiment), experiment.steps
    if component in given and any(isinstance(step.fault, Replace) for step in steps):
        candidate = given.pop(component)
        steps = tuple(_upgraded(step, candidate) for step in steps)
    stack = replace(experiment.stack, versions={**experiment.stack.versions, **given})
    seed = experiment.seed if options.seed is None else options.seed
    return replace(experiment, stack=stack, steps=steps, seed=seed)


def _replaced(experiment: Experiment) -> str:
    """Return the component that the fault `replace` exchanges: the stack's own, or the one that the stack names."""
    name = experiment.stack.name
    return str(getattr(STACKS.get(name), "replaces", "") or name)


def _upgraded(step: Step, version: str) -> Step:
    return replace(step, fault=replace(step.fault, version=version)) if isinstance(step.fault, Replace) else step
