"""YAML → Experiment. Everything wrong with a file is said at once, each thing with its place and with what would do.

    text ─positions─▶ nodes ─forms─▶ values ─checks, blast─▶ Experiment
                                       └──────────┴─▶ SpecError: pause.yaml:11:7: no such fault 'puase'; did you mean …

A file is ours if its first key is `chaosgate`, whose value is the version of this form. Names of stacks, workloads,
faults and gates come from their tables; what may be said below such a name are the fields of the class in the table.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from chaos.blast import checked_hits
from chaos.checks import Draft, check
from chaos.errors import SpecError, UsageError
from chaos.forms import Form, Name, Written
from chaos.model import AbortWhen, Experiment, StackSpec, Topology
from chaos.parts import Duration, Part, Positive, Tables, items, read_gate, read_load, read_stack, read_step, shipped
from chaos.ports import LAG
from chaos.positions import Page, described, entries, plain
from chaos.promises import gates_of, read_slo
from chaos.refusals import owner_keys, salvaged, validated
from chaos.units import SHARE, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import yaml

    from chaos.model import Load, Step

_OURS = re.compile(r"\A\ufeff?(?:\s*(?:#[^\n]*|---[^\n]*)?\n)*\s*[\"']?chaosgate[\"']?\s*:")


# ---------------------------------------------------------------- the doors


def is_ours(text: str) -> bool:
    """Return whether a file's first key is `chaosgate`, without reading the rest."""
    return _OURS.match(text) is not None


def load(path: Path | str, tables: Tables | None = None) -> Experiment:
    """Read a file; SpecError with every problem in it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path}:1:1: can't be read: {error}; name a YAML file that can be"]) from error
    return load_text(text, str(path), tables)


def load_text(text: str, path: str = "experiment.yaml", tables: Tables | None = None) -> Experiment:
    """Read a text; SpecError with every problem in it, each line beginning with `path:line:column`."""
    page = Page(path, text)
    root = page.compose()
    marked = root is not None and _is_marked(root, page)
    experiment = _experiment(root, page, tables or shipped()) if root is not None and marked else None
    page.raise_problems()
    assert experiment is not None, "what can't be read has problems"
    return experiment


def json_schema(tables: Tables | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of experiment files, for editors."""
    from chaos.schema import schema  # noqa: PLC0415 it needs this module's forms

    return schema(ExperimentForm, tables or shipped())


def cells(experiment: Experiment) -> tuple[Experiment, ...]:
    """Return one experiment for each combination of its file's `matrix`, or just itself.

    A cell's name says which it is: "partition[version=3.5.1,seed=2]".
    """
    there = axes(experiment)
    if not there:
        return (experiment,)
    chosen = (dict(zip(there, values, strict=True)) for values in itertools.product(*there.values()))
    return tuple(_cell(experiment, axis) for axis in chosen)


def axes(experiment: Experiment) -> dict[str, list[str]]:
    """Return what its file's `matrix` varies → the values; empty without one."""
    root = Page(experiment.path, experiment.text).compose() if experiment.text else None
    found: dict[str, list[str]] = plain(entries(root)["matrix"][1]) if root and "matrix" in entries(root) else {}
    return found


def _cell(experiment: Experiment, chosen: dict[str, str]) -> Experiment:
    label = ",".join(f"{key}={value}" for key, value in chosen.items())
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}[{label}]",
        seed=int(chosen.get("seed", experiment.seed)),
        stack=_with_version(experiment.stack, chosen.get("version")),
    )


def _with_version(stack: StackSpec, version: str | None) -> StackSpec:
    return stack if version is None else dataclasses.replace(stack, versions={**stack.versions, stack.name: version})


# ---------------------------------------------------------------- the whole file


class AbortForm(Form):
    """Heal at once and stop when one of these is seen."""

    error_share: Annotated[float, Written(SHARE)] | None = None
    quorum_lost: Duration | None = None
    free_disk: Annotated[float, Written(SIZE)] | None = None


Seed = Annotated[int, Field(ge=0)]


class MatrixForm(Form):
    """Every combination is a run of its own."""

    version: list[str] | None = Field(None, min_length=1)
    seed: list[Seed] | None = Field(None, min_length=1)


class ExperimentForm(Form):
    """One experiment: a stack, its traffic, what breaks when, and the gates that it must pass."""

    chaosgate: Literal["1"]
    name: Name
    about: str = ""
    stack: Part
    load: Part
    beside: Part = None
    warm_up: Duration = 3.0
    duration: Positive
    steps: Part = None
    gates: Part = None
    abort_when: AbortForm = AbortForm()
    blast_radius: dict[str, Annotated[Annotated[float, Written(SHARE)], Field(gt=0)]] = {}  # noqa: RUF012 frozen
    slo: Part = None
    seed: Seed = 1
    matrix: MatrixForm | None = None


_NO_STEPS = "nothing is listed here; list what breaks, or leave out steps if nothing shall"
_PARTS = ("stack", "load", "beside", "steps", "gates", "slo")


def _is_marked(root: yaml.MappingNode, page: Page) -> bool:
    first = root.value[0][0] if root.value else root
    if first.value == "chaosgate":
        return True
    page.problem(first, f"not an experiment: its first key is {described(first)}; begin with the line `chaosgate: 1`")
    return False


def _experiment(root: yaml.MappingNode, page: Page, tables: Tables) -> Experiment | None:
    """Read every part even if another is wrong, so that all problems are found."""
    parts = {key: value for key, (_, value) in entries(root).items()}
    data = {key: value if key in _PARTS else plain(value) for key, value in parts.items()}
    head = validated(ExperimentForm, data, root, page)
    stack = read_stack(parts["stack"], page, tables) if "stack" in parts else None
    kind = tables.stacks[stack.name] if stack else None
    traffic = read_load(parts["load"], page, tables) if "load" in parts else None
    beside = read_load(parts["beside"], page, tables) if "beside" in parts else None
    roles = _roles([kind] if stack else tables.stacks.values())
    steps = [read_step(node, page, tables, roles) for node in items(parts.get("steps"), page, empty=_NO_STEPS)]
    steps = [_held(step, getattr(kind, "held_by", {}), getattr(kind, "roles", ())) for step in steps]
    gates = [read_gate(node, page, tables) for node in items(parts.get("gates"), page)]
    slo = read_slo(parts["slo"], page) if "slo" in parts else None
    listed = [gate for gate in gates if gate is not None]
    promised = gates_of(slo, parts["slo"], listed, page, stack=kind, gates=tables.gates) if slo else ()
    read = salvaged(ExperimentForm, data)
    draft = Draft(
        keys=owner_keys(ExperimentForm),
        warm_up_s=read.get("warm_up"),
        duration_s=read.get("duration"),
        load=traffic,
        beside=beside,
        serves=serves(stack.settings) if stack and (serves := getattr(kind, "serves", None)) else (),
        steps=steps,
        gates=gates,
        promised=promised,
        operations=getattr(kind, "operations", None),
        operations_on=getattr(kind, "operations_on", {}),
        refuses=partial(refuses, stack.settings) if stack and (refuses := getattr(kind, "refuses", None)) else None,
        of_one=getattr(kind, "of_one", ()),
        topics=_topics(kind, stack),
        processes=getattr(kind, "processes", ()),
        lags=LAG in getattr(kind, "readings", ()),
        paced=traffic is not None and getattr(tables.workloads[traffic.workload], "paced", False),
    )
    check(draft, root, page)
    if stack and (nodes := getattr(kind, "nodes", None)):
        checked_hits(steps, read.get("blast_radius", {}), Topology(nodes=tuple(nodes(stack.settings))), page, root)
    if head is None or stack is None or traffic is None:
        return None
    made = _bare(head, stack, traffic, page)
    judged = (*listed, *(gate for _, gate in promised))
    return dataclasses.replace(made, beside=beside, steps=tuple(s for s in steps if s), gates=judged, slo=slo)


def _topics(kind: object, stack: StackSpec | None) -> Mapping[str, int] | None:
    """Return the topics that there will be; None if the stack doesn't say, or its settings make no sense."""
    topics: Callable[[Mapping[str, Any]], Mapping[str, int]] | None = getattr(kind, "topics", None)
    try:
        return topics(stack.settings) if topics and stack else None
    except (TypeError, ValueError, UsageError):  # told of elsewhere
        return None


def _held(step: Step | None, held_by: Mapping[str, str], roles: Sequence[str]) -> Step | None:
    """Return the step with the nodes that alone can hold its role, as the stack says: of a static role, its own."""
    if step is None or not held_by or step.on.role not in roles:
        return step
    holders = held_by.get(step.on.role, step.on.role)
    return dataclasses.replace(step, on=dataclasses.replace(step.on, held_by=holders))


def _bare(head: ExperimentForm, stack: StackSpec, traffic: Load, page: Page) -> Experiment:
    """Return the experiment without its lists."""
    return Experiment(
        name=head.name,
        about=head.about,
        stack=stack,
        load=traffic,
        warm_up_s=head.warm_up,
        duration_s=head.duration,
        gates=(),
        abort_when=_abort_when(head.abort_when),
        blast_radius=head.blast_radius,
        seed=head.seed,
        path=page.path,
        text=page.text,
    )


def _roles(kinds: Iterable[Any]) -> set[str]:
    """Return the roles that stacks name; of all of them where the file's own stack could not be read."""
    return {role for kind in kinds for role in getattr(kind, "roles", ())}


def _abort_when(read: AbortForm) -> AbortWhen:
    return AbortWhen(
        error_share=read.error_share,
        quorum_lost_s=read.quorum_lost,
        free_disk_bytes=None if read.free_disk is None else int(read.free_disk),
    )
