"""How much the steps of an experiment break at once, at worst, whoever is chosen.

    cut    ├───── leader ─────┤
    kill              ├── follower ──┤         2 of 3 members are hit at once: 67 %, and no quorum is left

Overlapping steps are taken to hit different nodes, and an operation to need all of its time, so what this allows is
never exceeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.guess import suggestion
from chaos.occurrences import is_momentary, occurrences, timeout_s
from chaos.positions import locate
from chaos.units import counted, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import yaml

    from chaos.model import Node, Selector, Step, Topology
    from chaos.positions import Page

CLIENT = "client"  # the role of the nodes that generators run on: never hit, and never found to hold another role


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The most nodes of a static role that are hit at one moment, whoever is chosen.

    `away` of them can't be counted on (killed, cut off, stopped …), at `away_at_s` for the first time.
    """

    role: str
    of: int
    count: int
    at_s: float
    away: int
    away_at_s: float

    @property
    def share(self) -> float:
        """Return the fraction of the role."""
        return self.count / self.of

    @property
    def quorum(self) -> int:
        """Return how many make a majority of the role."""
        return self.of // 2 + 1

    @property
    def quorum_holds(self) -> bool:
        """Return whether a majority is left, whoever is chosen."""
        return self.of - self.away >= self.quorum


def wanted(selector: Selector, candidates: int) -> int:
    """Return how many of so many candidates a selector asks for: its count, its share rounded up, or one."""
    if selector.share is not None:
        return math.ceil(round(selector.share * candidates, 9))
    return 1 if selector.count is None else selector.count


def holders(selector: Selector, topology: Topology) -> tuple[Node, ...]:
    """Return the nodes that may hold a selector's role: the role's own, those that alone can hold it, or any server."""
    may = topology.with_role(selector.role)
    if not may and selector.held_by:
        may = topology.with_role(selector.held_by)
    elif not may:
        may = tuple(node for node in topology.nodes if node.role != CLIENT)
    return tuple(node for node in may if selector.zone in ("", node.zone))


# ---------------------------------------------------------------- what this topology and the blast radius allow


def checked_hits(
    steps: Sequence[Step | None],
    limits: Mapping[str, float],
    topology: Topology,
    page: Page,
    root: yaml.MappingNode | None,
) -> tuple[Hit, ...]:
    """Return the worst moment of each role that is met; what this topology or the limits forbid goes on the page.

    A step that could not be read is None, and hits nobody; `limits` are role → share.
    """

    def problem(where: tuple[str | int, ...], message: str, *, key: bool = False) -> None:
        page.problem(None if root is None else locate(root, where, key=key), message)

    there = [(place, step) for place, step in enumerate(steps) if step is not None]
    for place, step in there:
        for key, message in _misfits(step, topology):
            problem(("steps", place, key), message)
    roles = {node.role for node in topology.nodes} - {CLIENT}
    for role in limits:
        if role == CLIENT:
            problem(
                ("blast-radius", role), "a client is never hit, so nothing is to be limited; leave it out", key=True
            )
        elif role not in roles:
            problem(("blast-radius", role), f"no node has the role '{role}'; {suggestion(role, roles)}", key=True)
    found = tuple(hit for role in sorted(roles) if (hit := _hit(role, [s for _, s in there], topology)) is not None)
    for hit in found:
        limit = limits.get(hit.role)
        if limit is not None and hit.share > limit + 1e-9:
            problem(("blast-radius", hit.role), _excess(hit, limit))
    return found


def _excess(hit: Hit, limit: float) -> str:
    return (
        f"the steps hit {hit.count} of {counted(hit.of, hit.role)} at once, at {format_duration(hit.at_s)}, and the"
        f" limit {format_share(limit)} allows {math.floor(limit * hit.of + 1e-9)}; hit fewer, move the steps apart, or"
        f" write {math.ceil(hit.share * 100)}%"
    )


def _misfits(step: Step, topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield (key of the step, message) for what can't be done to these nodes."""
    if step.on.role == CLIENT:
        yield "on", _no_victim(step)
        return
    there = holders(step.on, topology)
    number = wanted(step.on, len(there))
    who = step.on.role + (f" in zone {step.on.zone}" if step.on.zone else "")
    if not there:
        yield "on", f"no node can be {who}; {suggestion(step.on.zone or step.on.role, _words(step.on, topology))}"
        return
    if number > len(there):
        are = "is" if len(there) == 1 else "are"
        asked = counted(number, step.on.role) + who.removeprefix(step.on.role)
        yield "on", f"{asked} asked for, and there {are} {len(there)}; write count: {len(there)} or less"
        return
    for first in range(len(there)):  # whoever is chosen, there must be something to do
        try:
            step.fault.aim((*there, *there)[first : first + number], topology)
        except ValueError as refusal:
            yield "fault", str(refusal)
            return


def _no_victim(step: Step) -> str:
    """Say why clients can't be hit, and how a fault between them and others is written, if it is of that kind."""
    side = next((key for key in ("from", "peers") if hasattr(step.fault, {"from": "from_"}.get(key, key))), "")
    would = f", and name the client as the other side, {side}: client" if side else ""
    return (
        "a client holds none of the data, and without it there is no traffic to judge by;"
        f" aim at the stack's own nodes{would}"
    )


def _words(selector: Selector, topology: Topology) -> set[str]:
    return {node.zone if selector.zone else node.role for node in topology.nodes if node.role != CLIENT} - {""}


@dataclass(slots=True)
class _Tally:
    """What is hit while the timeline is walked, and the most of it so far, each as (number, when)."""

    count: int = 0
    away: int = 0
    most: tuple[int, float] = (0, 0.0)
    most_away: tuple[int, float] = (0, 0.0)

    def add(self, at_s: float, number: int, away: int, size: int) -> None:
        self.count += number
        self.away += away
        self.most = max(self.most, (min(self.count, size), -at_s))
        self.most_away = max(self.most_away, (min(self.away, size), -at_s))


def _hit(role: str, steps: Iterable[Step], topology: Topology) -> Hit | None:
    """Return the worst moment of a role; None if no step can meet it."""
    size = len(topology.with_role(role))
    changes = sorted(change for step in steps for change in _changes(role, step, topology))
    tally = _Tally()
    for at_s, number, away in changes:
        tally.add(at_s, number, away, size)
    if not changes:
        return None
    (count, at_s), (away, away_at_s) = tally.most, tally.most_away
    return Hit(role=role, of=size, count=count, at_s=-at_s, away=away, away_at_s=-away_at_s)


def _changes(role: str, step: Step, topology: Topology) -> Iterator[tuple[float, int, int]]:
    """Yield (when, change of nodes hit, change of nodes away). An end sorts before a begin of its instant.

    An operation goes through its victims one by one, and may take its whole timeout for each.
    """
    there = holders(step.on, topology)
    if not any(node.role == role for node in there):
        return
    number = wanted(step.on, len(there))
    momentary = is_momentary(step.fault)
    at_once = min(number, 1) if momentary else number
    longest_s = timeout_s(step.fault) * number if momentary else 0.0
    away = at_once if getattr(step.fault, "takes_away", True) else 0
    for one in occurrences(step):
        yield one.start_s, at_once, away
        yield round(one.end_s + longest_s, 9), -at_once, -away
