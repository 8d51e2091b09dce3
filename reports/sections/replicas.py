"""Which replica differs, since when: a row a comparison, a column a member.

round 7   t = 31.2 s   revision 38,366   etcd1 76ae…   etcd2 a588… ≠   etcd3 76ae…
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.clock import NS
from reports.series import origin_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import Reading
    from chaos.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one member answered: a hash, or why not. `odd`: not what the majority holds."""

    text: str
    odd: bool
    silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One comparison at one revision."""

    number: int
    at_s: float
    quiet: bool
    revision: int
    cells: Sequence[Cell]

    @property
    def differs(self) -> bool:
        """Whether some member is not with the majority."""
        return any(cell.odd for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """All comparisons of a run; `found`: sentences on where the histories part."""

    members: Sequence[str]
    rounds: Sequence[Round]
    found: Sequence[str]

    @property
    def odd(self) -> Sequence[str]:
        """The members that differ in the last comparison that shows a difference."""
        last = next((one for one in reversed(self.rounds) if one.differs), None)
        return [] if last is None else [m for m, c in zip(self.members, last.cells, strict=True) if c.odd]


def replicas(recording: Recording) -> Replicas | None:
    """Return the comparisons of replicas; None if none was made."""
    told: dict[tuple[int, bool], dict[str, tuple[Reading, Mapping[str, Any]]]] = defaultdict(dict)
    for reading in recording.readings:
        if reading.name == "replica" and (said := _said(reading)) is not None:
            told[int(said.get("round", 0)), bool(said.get("quiet"))][reading.node] = (reading, said)
    if not told:
        return None
    members = sorted({node for answers in told.values() for node in answers})
    bisect = [r for r in recording.readings if r.name == "replica-bisect" and (r.text or r.value is not None)]
    return Replicas(
        members=members,
        rounds=[_round(recording, number, quiet, members, answers) for (number, quiet), answers in told.items()],
        found=[r.text or f"{r.node} first differs at revision {r.value:,.0f}" for r in bisect],
    )


def _said(reading: Reading) -> Mapping[str, Any] | None:
    try:
        said = json.loads(reading.text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _round(
    recording: Recording,
    number: int,
    quiet: bool,
    members: Sequence[str],
    answers: Mapping[str, tuple[Reading, Mapping[str, Any]]],
) -> Round:
    hashes = [reading.value for reading, _ in answers.values() if reading.value is not None]
    bases = {
        (said.get("at_revision"), said.get("compact_revision")) for r, said in answers.values() if r.value is not None
    }
    most, votes = Counter(hashes).most_common(1)[0] if hashes else (None, 0)
    majority = most if votes * 2 > len(hashes) and len(bases) <= 1 else None
    differ = len(set(hashes)) > 1 and len(bases) <= 1
    return Round(
        number=number,
        at_s=(min(reading.at_ns for reading, _ in answers.values()) - origin_ns(recording)) / NS,
        quiet=quiet,
        revision=max(int(said.get("at_revision") or 0) for _, said in answers.values()),
        cells=[_cell(answers.get(member), majority, differ=differ) for member in members],
    )


def _cell(answer: tuple[Reading, Mapping[str, Any]] | None, majority: float | None, *, differ: bool) -> Cell:
    if answer is None or answer[0].value is None:
        return Cell(text="no answer" if answer is None else answer[0].why or "no answer", odd=False, silent=True)
    return Cell(text=f"{int(answer[0].value):08x}", odd=differ and answer[0].value != majority, silent=False)
