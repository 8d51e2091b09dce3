"""Which paths a step hurts, and which it must spare. Pure.

    Aimed(etcd1, shape in, peers etcd2)      etcd2→etcd1 hurt      etcd1→etcd2, etcd3→etcd1, etcd2→etcd3 spared

Everything in force counts: a path that two steps hurt is judged against both, and no path that any step hurts is
ever called spared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Aimed, Cut, Direction, Impairment, Power, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHAPED_MAX = 6  # paths measured for the shapes of one step, or one a subject; a cut is cheap: CUT_MAX, or one a subject
CUT_MAX = 24
SPARED_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurt:
    """A path, and all that happens on it: cut, or these impairments in turn. `subjects`: whose actions do it.

    `dark`: one of its ends has no power, so that even the sender's own link is down.
    """

    source: str
    sink: str
    subjects: frozenset[str]
    cut: bool = False
    dark: bool = False
    impairments: tuple[Impairment, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """Source and sink."""
        return self.source, self.sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """What is measured for one step."""

    hurt: tuple[Hurt, ...]
    spared: tuple[tuple[str, str], ...]


def touches(aimed: Aimed, source: str, sink: str) -> bool:
    """Tell whether an action changes what happens to packets from source to sink."""
    action, subject = aimed.action, aimed.subject
    if isinstance(action, Power):
        return subject in (source, sink)
    if not isinstance(action, Shape | Cut):
        return False
    inward = subject == sink and action.direction in (Direction.IN, Direction.BOTH)
    outward = subject == source and action.direction in (Direction.OUT, Direction.BOTH)
    return (inward and _among(source, action.peers)) or (outward and _among(sink, action.peers))


def paths(mine: Sequence[Aimed], others: Sequence[Aimed], nodes: Sequence[str]) -> Paths:
    """Choose the paths of a step among all ordered pairs of nodes; `others` are the actions of other steps in force."""
    pairs = [(a, b) for a in nodes for b in nodes if a != b]
    hurt = [_hurt(pair, mine, others) for pair in pairs if any(touches(one, *pair) for one in mine)]
    cuts = _fairly([one for one in hurt if one.cut], CUT_MAX)
    shaped = _fairly([one for one in hurt if not one.cut], SHAPED_MAX)
    free = [pair for pair in pairs if not any(touches(one, *pair) for one in [*mine, *others])]
    victims = {one.subject for one in mine}
    return Paths(hurt=(*cuts, *shaped), spared=tuple(_spared(free, victims)))


def _hurt(pair: tuple[str, str], mine: Sequence[Aimed], others: Sequence[Aimed]) -> Hurt:
    acting = [one for one in [*mine, *others] if touches(one, *pair)]
    return Hurt(
        source=pair[0],
        sink=pair[1],
        subjects=frozenset(one.subject for one in acting if one in mine),
        cut=any(isinstance(one.action, Cut | Power) for one in acting),
        dark=any(isinstance(one.action, Power) for one in acting),
        impairments=tuple(one.action.impairment for one in acting if isinstance(one.action, Shape)),
    )


def _fairly(hurt: list[Hurt], most: int) -> list[Hurt]:
    """Take `most` paths, each subject and each of its directions before anybody's second, and one of every subject."""
    turns: dict[tuple[str, str], int] = {}

    def turn(one: Hurt) -> int:
        rank = 0
        for subject in sorted(one.subjects):
            key = (subject, "out" if subject == one.source else "in")
            rank = max(rank, turns.get(key, 0))
            turns[key] = turns.get(key, 0) + 1
        return rank

    ranked = [(turn(one), index, one) for index, one in enumerate(hurt)]
    taken: list[Hurt] = []
    for _, _, one in sorted(ranked, key=lambda item: item[:2]):
        if len(taken) < most or not any(one.subjects & other.subjects for other in taken):
            taken.append(one)
    return taken


def _spared(free: Iterable[tuple[str, str]], victims: set[str]) -> list[tuple[str, str]]:
    """Take one path that leads to a victim, one that leaves one, and one that meets none, as far as there are."""
    kinds: dict[tuple[bool, bool], tuple[str, str]] = {}
    for source, sink in free:
        kinds.setdefault((source in victims, sink in victims), (source, sink))
    order = [(False, True), (True, False), (False, False), (True, True)]
    return [kinds[kind] for kind in order if kind in kinds][:SPARED_MAX]


def _among(node: str, peers: tuple[str, ...]) -> bool:
    return not peers or node in peers
