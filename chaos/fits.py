"""Does the stack have what a step or a load asks for: operations, a victim that knows them, topics? Pure.

what the stack says of itself (StackKind), as a Draft has it ─▶ what is wrong; what would do
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.guess import suggestion
from chaos.model import Node, StackAction, Topology
from chaos.occurrences import is_momentary
from chaos.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.checks import Draft, Problem
    from chaos.model import Step

FAULT_OF = {"savepoint-upgrade": "upgrade"}  # operations that a file calls otherwise


def operations(step: Step, draft: Draft) -> Iterator[str]:
    """Yield a problem for an operation that a stack, or a victim, hasn't, or that can't be done as the stack is set."""
    there = draft.operations_on.get(step.on.role, draft.operations)
    if there is None or not is_momentary(step.fault):
        return
    for aimed in step.fault.aim(*stand_ins(step)):
        action = aimed.action
        if not isinstance(action, StackAction):
            continue
        if action.operation not in there:
            whose = f"{_article(step.on.role)} knows" if step.on.role in draft.operations_on else "the stack has"
            known = [FAULT_OF.get(name, name) for name in there]
            yield f"{whose} no operation '{action.operation}'; {suggestion(action.operation, known)}"
        elif action.operation in draft.of_one and (step.on.share is not None or (step.on.count or 1) > 1):
            yield "there is one job, and each victim would do this to it; leave out count and share"
        elif draft.refuses and (why := draft.refuses(action)):
            yield why


def _article(role: str) -> str:
    return f"{'an' if role[:1] in 'aeiou' else 'a'} {role}"


def stand_ins(step: Step) -> tuple[tuple[Node, ...], Topology]:
    """Return a victim and its peers before there is a topology: what an action needs doesn't depend on who they are."""
    nodes = tuple(Node(name=f"{step.on.role}-{n}", role=step.on.role, address="") for n in range(3))
    return nodes[:1], Topology(nodes=nodes)


def unmade_topics(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a topic, or a partition, that there will not be."""
    if draft.topics is None:
        return
    there = f"there are {', '.join(draft.topics)}, and more by kafka: {{topics: {{NAME: PARTITIONS}}}}"
    for key, load in (("load", draft.load), ("beside", draft.beside)):
        settings = load.settings if load is not None and load.workload == "records" else {}
        for what in ("topic", "read"):
            named = settings.get(what, ())
            for topic in (named,) if isinstance(named, str) else named:
                if topic not in draft.topics:
                    yield (key, "records", what), f"no topic {topic!r} is made; {there}"
    for place, step in enumerate(draft.steps):
        if step is not None and step.on.role == "leader-of":
            topic, _, number = step.on.argument.rpartition("/")
            if topic not in draft.topics:
                yield ("steps", place, "on"), f"no topic {topic!r} is made; {there}"
            elif number.isdigit() and int(number) >= draft.topics[topic]:
                yield ("steps", place, "on"), f"{topic} has {counted(draft.topics[topic], 'partition')}, from 0"
