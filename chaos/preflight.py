"""Everything that can be known before anything is touched: what would happen, and what can't.

experiment ─▶ stack's nodes ─▶ plan ─▶ versions, room, backend of every fault ─▶ described, or refused with exit code 2
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from chaos import plan as planning
from chaos.blast import CLIENT
from chaos.errors import CapabilityError, SpecError, UsageError
from chaos.guess import suggestion
from chaos.lookers import QUORUM
from chaos.model import StackAction, Topology
from chaos.places import cache
from chaos.ports import LimitsCpu, NamesOrigins, ProvidesVersions
from chaos.positions import Page, locate, scalars
from chaos.room import deepest, expected, too_large
from chaos.stacks import STACKS
from chaos.targets import TARGETS, TargetKind, Wants
from gates.enough import too_little

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Action, Experiment
    from chaos.options import Options
    from chaos.plan import Timeline
    from chaos.ports import Stack

DOCUMENTATION_NET = "192.0.2"  # RFC 5737: addresses that stand for those which a lab will give


def target_kind(name: str) -> TargetKind:
    """Return the target; UsageError with a guess for an unknown one."""
    if name in TARGETS:
        return TARGETS[name]
    raise UsageError(f"no such target {name!r}; {suggestion(name, TARGETS)}")


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


def provide(experiments: Sequence[Experiment], target: str, say: Callable[[str], None]) -> None:
    """Fetch or build what the set will run, with progress; UsageError if a version can't be had or kept."""
    for experiment in experiments:
        stack = STACKS[experiment.stack.name](experiment)
        try:
            if isinstance(stack, ProvidesVersions):
                stack.provide(_replacements(experiment), say)
            wants = wants_of(experiment, stack)
            if wants.disks:
                target_kind(target).provide_disks(say)
            if wants.clocks:
                target_kind(target).provide_clocks(say)
        except OSError as error:
            why = f"{error.filename or cache()}: {error.strerror or error}"
            raise UsageError(f"{why}; name a folder that you may write to by CHAOSGATE_CACHE") from error


def _replacements(experiment: Experiment) -> list[str]:
    """Return the versions that steps will want."""
    operations = [a for a in actions(experiment, timeline(experiment)) if isinstance(a, StackAction)]
    return list(dict.fromkeys(v for a in operations if (v := a.arguments.get("version"))))


def describe(experiment: Experiment, target: str, runs: Path) -> str:
    """Return the text of `chaosgate plan`, for recordings in `runs`."""
    refuse_unknown_versions([experiment])
    if blind := [*_blind_limits(experiment), *_blind_clocks(experiment)]:
        raise CapabilityError("\n".join(blind))
    planned = timeline(experiment)
    return planning.describe(
        planned,
        backend=target_kind(target).backend,
        versions=list(origins(experiment)),
        recording=_expected(planned, runs),
        doubts=[*_unfetchable(experiment), *too_little(experiment)],
        voters=getattr(STACKS[experiment.stack.name], "voters", ()),
    )


def _expected(planned: Timeline, runs: Path) -> str:
    return f"nowhere: {why}" if (why := why_not_writable(runs)) else expected(planned, runs)


# ---------------------------------------------------------------- folders


def why_not_writable(folder: Path) -> str:
    """Say why nothing can be written in a folder, which may not be there yet; "" if it can. Leaves nothing."""
    try:
        there = deepest(folder)
    except OSError as error:
        return f"{error.strerror}; give another"
    if not there.is_dir():
        return f"{there} is no folder; give another"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} can't be written to; give a folder that you may write to"
    return ""


def _refuse_unwritable(runs: Path) -> None:
    """Raise UsageError if no recording can be kept in `runs`: a file is written there and taken away, to be sure."""
    why = why_not_writable(runs)
    try:
        if not why:
            tempfile.TemporaryFile(dir=deepest(runs)).close()
    except OSError as error:
        why = f"{error.strerror}; give a folder that you may write to"
    if why:
        raise UsageError(f"--runs {runs}: {why}")


def _unfetchable(experiment: Experiment) -> Iterator[str]:
    """Say that a version which is not at hand could not be had."""
    provides = isinstance(STACKS[experiment.stack.name](experiment), ProvidesVersions)
    if provides and (why := why_not_writable(cache())):
        yield f"the cache {cache()}: {why}, by CHAOSGATE_CACHE; until then nothing that is not at hand can be fetched"


# ---------------------------------------------------------------- versions


def origins(experiment: Experiment) -> Iterator[str]:
    """Yield what runs at first and what replaces it, each with where it comes from; UsageError if there is no such."""
    stack = STACKS[experiment.stack.name](experiment)
    if isinstance(stack, NamesOrigins):
        for version in ("", *_replacements(experiment)):
            yield stack.origin(version)


def refuse_unknown_versions(experiments: Sequence[Experiment]) -> None:
    """Raise one error for all versions that there are not: at their places in the files, or in the command."""
    found = [problem for experiment in experiments for problem in _unknown_versions(experiment)]
    if in_files := [f"{place}: {why}" for place, why in found if place]:
        raise SpecError(list(dict.fromkeys(in_files)))
    if found:
        raise UsageError("\n".join(dict.fromkeys(f"--version: {why}" for _, why in found)))


def _unknown_versions(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Yield (place in the file, "" if it isn't there; what is wrong)."""
    stack = STACKS[experiment.stack.name](experiment)
    if not isinstance(stack, NamesOrigins):
        return
    for version in ("", *_replacements(experiment)):
        try:
            stack.origin(version)
        except UsageError as error:
            asked = [version] if version else list(experiment.stack.versions.values())
            yield _place_of(asked, experiment), str(error)


def _place_of(asked: Sequence[str], experiment: Experiment) -> str:
    """Return file:line:column of the first version in the file that was asked for."""
    root = Page(experiment.path, experiment.text).compose() if experiment.text else None
    if root is None:
        return ""
    parts = [locate(root, (part,)) for part in ("stack", "matrix", "steps")]
    marks = [node.start_mark for part in parts if part is not root for node in scalars(part) if node.value in asked]
    return f"{experiment.path}:{marks[0].line + 1}:{marks[0].column + 1}" if marks else ""


# ---------------------------------------------------------------- what can't run


def limits_of(stack: Stack) -> Mapping[str, float]:
    """Return the cores that nodes of the stack are limited to, if it limits any."""
    return stack.cpu_limits() if isinstance(stack, LimitsCpu) else {}


def wants_of(experiment: Experiment, stack: Stack) -> Wants:
    """Return what the experiment wants of its nodes: limits of the stack's, and what faults need to be able to act.

    A fault of CPU time needs a cgroup for every node: whoever has one of its own gets CPU time as one, so that such a
    run is not quite like one without. Files and clocks are those of all nodes but clients.
    """
    scarce = any("cpu" in getattr(step.fault, "touches", ()) for step in experiment.steps)
    limitable = dict.fromkeys((node.name for node in stack.nodes()), math.inf) if scarce else {}
    servers = frozenset(node.name for node in stack.nodes() if node.role != CLIENT)
    return Wants(
        cpu={**limitable, **limits_of(stack)},
        disks=servers if _anybody(experiment, "wants_disk") else frozenset(),
        clocks=servers if _anybody(experiment, "wants_clock") else frozenset(),
    )


def _anybody(experiment: Experiment, wants: str) -> bool:
    return any(getattr(step.fault, wants, False) for step in experiment.steps)


def _blind_clocks(experiment: Experiment) -> Iterator[str]:
    """Yield a fault of the clock on a stack whose programs ask the kernel themselves."""
    kind = STACKS[experiment.stack.name]
    if (why := getattr(kind, "no_clock", "")) and _anybody(experiment, "wants_clock"):
        yield f"{experiment.name}: clock: {why}"


def _blind_limits(experiment: Experiment) -> Iterator[str]:
    """Yield a limit of `abort-when` that could never be seen to be exceeded."""
    name = experiment.stack.name
    if experiment.abort_when.quorum_lost_s is not None and QUORUM not in getattr(STACKS[name], "readings", ()):
        yield (
            f"{experiment.name}: abort-when: quorum-lost: no probe of stack {name!r} tells of a quorum, so nothing "
            "would ever end the run; leave it out"
        )


def refuse_what_cannot_run(experiments: Sequence[Experiment], options: Options) -> None:
    """Raise SpecError, UsageError or CapabilityError, before anything is touched, if one of the set can't run."""
    kind = target_kind(options.target)
    refuse_unknown_versions(experiments)
    missing: list[str] = []
    for experiment in experiments:
        limits = limits_of(STACKS[experiment.stack.name](experiment))
        if limits and (why_not := kind.no_cpu_limit()):
            missing.append(f"{experiment.name}: cpu-limit on {', '.join(limits)}: {why_not}")
        missing.extend(_blind_limits(experiment))
        missing.extend(_blind_clocks(experiment))
        for action in actions(experiment, timeline(experiment)):
            try:
                kind.backend(action)
            except CapabilityError as error:
                missing.append(f"{experiment.name}: {error}")
    missing.extend(too_large([timeline(experiment) for experiment in experiments], options.runs))
    if missing:
        raise CapabilityError("\n".join(dict.fromkeys(missing)))
    _refuse_unwritable(options.runs)
