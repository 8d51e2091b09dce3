"""Everything that can be known before anything is touched: what would happen, and what can't.

experiment ─▶ stack's nodes ─▶ plan ─▶ backend of every fault ─▶ described, or refused with exit code 2
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from chaos import plan as planning
from chaos.errors import CapabilityError, UsageError
from chaos.model import StackAction, Topology
from chaos.ports import LimitsCpu, ProvidesVersions
from chaos.stacks import STACKS
from chaos.targets import TARGETS, TargetKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.model import Action, Experiment
    from chaos.plan import Timeline
    from chaos.ports import Stack
    from chaos.session import Options

DOCUMENTATION_NET = "192.0.2"  # RFC 5737: addresses that stand for those which a lab will give


def target_kind(name: str) -> TargetKind:
    """Return the target; UsageError with a guess for an unknown one."""
    if name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(name, TARGETS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(TARGETS)}"
    raise UsageError(f"no such target {name!r}; {hint}")


def timeline(experiment: Experiment) -> Timeline:
    """Plan on the nodes that the stack wants; SpecError for what they or the blast radius forbid."""
    nodes = STACKS[experiment.stack.name](experiment).nodes()
    placed = [replace(node, address=f"{DOCUMENTATION_NET}.{10 + i}") for i, node in enumerate(nodes)]
    return planning.plan(experiment, Topology(nodes=tuple(placed)))


def actions(experiment: Experiment, planned: Timeline) -> Sequence[Action]:
    """Return what the steps would do, each aimed at nodes that could be its victims."""
    found: list[Action] = []
    for step in experiment.steps:
        there = planning.holders(step.on, planned.topology)
        victims = there[: planning.wanted(step.on, len(there))]
        found.extend(aimed.action for aimed in step.fault.aim(victims, planned.topology))
    return found


def provide(experiments: Sequence[Experiment], say: Callable[[str], None]) -> None:
    """Fetch or build what the set will run, with progress; UsageError if a version can't be had."""
    for experiment in experiments:
        stack = STACKS[experiment.stack.name](experiment)
        if isinstance(stack, ProvidesVersions):
            operations = [a for a in actions(experiment, timeline(experiment)) if isinstance(a, StackAction)]
            stack.provide([v for a in operations if (v := a.arguments.get("version"))], say)


def describe(experiment: Experiment, target: str) -> str:
    """Return the text of `chaosgate plan`."""
    return planning.describe(timeline(experiment), backend=target_kind(target).backend)


def limits_of(stack: Stack) -> Mapping[str, float]:
    """Return the cores that nodes of the stack are limited to, if it limits any."""
    return stack.cpu_limits() if isinstance(stack, LimitsCpu) else {}


def refuse_what_cannot_run(experiments: Sequence[Experiment], options: Options) -> None:
    """Raise SpecError, UsageError or CapabilityError, before anything is touched, if one of the set can't run."""
    kind = target_kind(options.target)
    missing: list[str] = []
    for experiment in experiments:
        limits = limits_of(STACKS[experiment.stack.name](experiment))
        if limits and (why_not := kind.no_cpu_limit()):
            missing.append(f"{experiment.name}: cpu-limit on {', '.join(limits)}: {why_not}")
        for action in actions(experiment, timeline(experiment)):
            try:
                kind.backend(action)
            except CapabilityError as error:
                missing.append(f"{experiment.name}: {error}")
    if missing:
        raise CapabilityError("\n".join(dict.fromkeys(missing)))
