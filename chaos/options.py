"""What the command line or pytest asks of a run, beside the file: by itself, so that a plan needs nothing that runs.

files + --version --seed --replay ─▶ Options ─with_options─▶ Experiment as it is planned, run and recorded
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.faults.replace import Replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Experiment, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, as the command line or pytest says it."""

    target: str = "netns"
    runs: Path = Path("runs")
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    replay: Path | None = None
    recorded: Mapping[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)


def with_options(experiment: Experiment, options: Options) -> Experiment:
    """Return the experiment with the versions and the seed that were asked for on the command line.

    Where a step replaces the version, that is the candidate: it becomes the one asked for, and the file still says
    from which version the upgrade starts.
    """
    candidate = options.versions.get(experiment.stack.name)
    seed = experiment.seed if options.seed is None else options.seed
    if candidate and any(isinstance(step.fault, Replace) for step in experiment.steps):
        steps = tuple(_upgraded(step, candidate) for step in experiment.steps)
        return replace(experiment, steps=steps, seed=seed)
    stack = replace(experiment.stack, versions={**experiment.stack.versions, **options.versions})
    return replace(experiment, stack=stack, seed=seed)


def _upgraded(step: Step, version: str) -> Step:
    return replace(step, fault=replace(step.fault, version=version)) if isinstance(step.fault, Replace) else step
