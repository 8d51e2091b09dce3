"""Every replica holds the same: members' hashes at one revision agree, with traffic and, finally, without.

    round 7, revision R:   etcd1 #a   etcd2 #a   etcd3 #b     ← differs; again in the next round: it lasts
    quiet, equal indexes:  etcd1 #a   etcd2 #a   etcd3 #b     ← differs for good
    quiet, equal indexes:  etcd1 R    etcd2 R    etcd3 R-1    ← the same log made another revision: a write is lost

A hash covers the history from the last compaction to R (etcd's HashKV), the least revision, so only members with one
compaction are compared. One odd round can be a race with a compaction; the same member in two on end, or the quiet
one, can't: etcd's own corruption check alarms on the same ground
(https://etcd.io/docs/v3.5/op-guide/data_corruption/).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chaos.model import Status, Verdict
from chaos.units import counted
from gates.wording import inconclusive, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chaos.model import Reading
    from chaos.recording import Recording


BISECT = "replica-bisect"  # readings of a member that was measured to differ


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One comparison: who answered with which hash, who did not answer and why."""

    number: int
    quiet: bool
    revision: int
    hashes: dict[str, float]
    revisions: dict[str, int]  # that each had made of its log; with traffic stopped, part of what is compared
    silent: dict[str, str]
    comparable: bool  # every answer has the same revision and compaction

    @property
    def held(self) -> dict[str, tuple[float, int]]:
        """What is compared of each member."""
        return {node: (value, self.revisions[node] if self.quiet else 0) for node, value in self.hashes.items()}

    @property
    def differs(self) -> bool:
        return self.comparable and len(set(self.held.values())) > 1

    @property
    def odd(self) -> list[str]:
        """The members that are not with the majority; all of them where there is none."""
        held = self.held
        value, votes = Counter(held.values()).most_common(1)[0]
        if votes * 2 <= len(held):
            return sorted(held)
        return sorted(node for node, mine in held.items() if mine != value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicasEqual:
    """All members hold the same: no member odd in `rounds` comparisons on end, none when traffic has stopped."""

    rounds: int = 2

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError("rounds: at least 1; write e.g. 2")

    def judge(self, recording: Recording) -> Verdict:
        """Judge the replica readings; a lasting difference is certain whatever else failed."""
        if (found := self.watch(recording.readings)) is not None:
            return found
        rounds = _rounds(recording.readings)
        quiet = [one for one in rounds if one.quiet]
        numbers = {"n": len(rounds), "quiet": len(quiet), "odd_rounds": sum(one.differs for one in rounds)}
        if not quiet:
            return inconclusive("the replicas were never compared with traffic stopped", **numbers)
        last = quiet[-1]
        if last.silent:
            return inconclusive(f"no answer to the final comparison: {_why(last.silent)}", **numbers)
        if len(last.hashes) < 2 or not last.comparable:
            why = (
                "fewer than two members answered" if last.comparable else "the members' revisions or compactions differ"
            )
            return inconclusive(f"the final comparison compares nothing: {why}", **numbers)
        if bisected := [r.text or r.node for r in recording.readings if r.name == BISECT]:
            why = f"members were found to differ, which no comparison bears out: {listed(bisected, between='; ')}"
            return inconclusive(why, **numbers)
        members, made = len(last.hashes), counted(len(rounds), "comparison")
        summary = f"{members} members hold the same at revision {last.revision:,}; {made} made"
        if numbers["odd_rounds"]:
            summary += f", {numbers['odd_rounds']} aside that did not last"
        return Verdict(status=Status.PASS, summary=summary, numbers=numbers | {"revision": last.revision})

    def watch(self, readings: Sequence[Reading]) -> Verdict | None:
        """Return a certain FAIL as soon as a difference lasts, else None; cheap enough to ask while the run goes on."""
        odd = self._lasting(_rounds(readings))
        if not odd:
            return None
        last = odd[-1]
        bisect = [r for r in readings if r.name == BISECT and r.value is not None]
        where = [r.text or f"{r.node} first differs at revision {r.value:,.0f}" for r in bisect]
        when = "with traffic stopped" if last.quiet else f"in {len(odd)} comparisons"
        summary = f"replicas differ {when}: {listed(last.odd)} at revision {last.revision:,}"
        return Verdict(
            status=Status.FAIL,
            summary="; ".join([summary, *where[-1:]]),
            numbers=_numbers(odd, bisect),
            certain=True,
        )

    def _lasting(self, rounds: Sequence[_Round]) -> list[_Round]:
        """Return the rounds that show a difference for good: the newest quiet one, else the longest on end."""
        streaks: dict[str, list[_Round]] = defaultdict(list)  # of each member: in which rounds it was odd, on end
        lasting: list[_Round] = []
        for one in rounds:
            odd = one.odd if one.differs else ()
            if one.quiet and odd:
                return [one]
            for node in one.hashes if one.comparable and len(one.hashes) > 1 else ():
                streaks[node] = [*streaks[node], one] if node in odd else []
                if len(streaks[node]) >= max(self.rounds, len(lasting) + 1):
                    lasting = streaks[node]
        return lasting


def _numbers(odd: Sequence[_Round], bisect: Sequence[Reading]) -> dict[str, Any]:
    last = odd[-1]
    return {
        "n": len(odd),
        "members": last.odd,
        "revision": last.revision,
        "first_differing": {reading.node: reading.value for reading in bisect},
        "hashes": {node: int(value) for node, value in last.hashes.items()},
        "revisions": last.revisions,
        "rounds": [one.number for one in odd],
    }


def _rounds(readings: Iterable[Reading]) -> list[_Round]:
    """Group the replica readings, in the order taken; a reading that is not JSON belongs to no round."""
    grouped: dict[tuple[int, bool], list[tuple[Reading, Mapping[str, Any]]]] = defaultdict(list)
    for reading in readings:
        if reading.name == "replica" and (said := _said(reading.text)) is not None:
            grouped[said.get("round", 0), bool(said.get("quiet"))].append((reading, said))
    return [_round(number, quiet, answers) for (number, quiet), answers in grouped.items()]


@lru_cache(maxsize=1 << 16)  # `watch` is asked again and again, each time with all readings so far
def _said(text: str) -> Mapping[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _round(number: int, quiet: bool, answers: Sequence[tuple[Reading, Mapping[str, Any]]]) -> _Round:
    heard = [(reading, said) for reading, said in answers if reading.value is not None]
    same = {(said.get("at_revision"), said.get("compact_revision")) for _, said in heard}
    logs = {said.get("applied_index") for _, said in heard}
    return _Round(
        number=number,
        quiet=quiet and len(logs) <= 1,
        revision=max((int(said.get("at_revision") or 0) for _, said in answers), default=0),
        hashes={reading.node: reading.value for reading, _ in heard if reading.value is not None},
        revisions={reading.node: int(said.get("revision") or 0) for reading, said in heard},
        silent={reading.node: reading.why for reading, _ in answers if reading.value is None},
        comparable=len(same) <= 1,
    )


def _why(silent: dict[str, str]) -> str:
    return listed([f"{node} ({why})" if why else node for node, why in sorted(silent.items())])
