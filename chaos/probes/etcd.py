"""etcd looked at: what each member says of itself, and whether all hold the same data.

    StatusProbe    status of every member ──▶ up, leader, follower, raft-term, applied-index, revision, db-size; quorum
    ReplicaProbe   least revision R of all ──▶ HashKV(R) on every member ──▶ replica
                   hashes differ ──▶ bisect R: hashes of histories, once different, stay so ──▶ replica-bisect

A silent loss of one write on one member (etcd issue #13766) leaves every member healthy, fast and linearizable
by itself; only the comparison shows it. A member that does not answer is a Reading without a value, never a zero.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import MonotonicClock, ns
from chaos.model import Reading
from chaos.stacks.etcd import roles
from chaos.stacks.etcd.client import EtcdClient, EtcdError, KvHash, MemberStatus
from chaos.stacks.etcd.errors import Code
from chaos.stacks.etcd.members import Members, answered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.ports import Clock
    from chaos.stacks.crew import Lab
    from chaos.stacks.etcd.stack import EtcdStack

_QUIET_POLL_S = 0.05
_PATIENCE_S = 5.0  # how long a member that is down or behind is asked again, while traffic goes on
_RETRY_S = 0.1
_HASH_S = 30.0  # a million keys take about a second; nobody waits for it but us


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusProbe:
    """What each member says of itself, without a quorum's help.

    Readings: "up" 1 for a member that answers and None for one that does not; "leader" 1 or 0 (does it lead?) and
    "follower" 1 or 0 (does it follow that leader?); "raft-term", "applied-index", "revision"; "db-size" in bytes. And
    one "quorum" without a node: 1 if a majority was seen to follow one leader, else 0.
    """

    members: Members
    clock: Clock = field(default_factory=MonotonicClock)

    @classmethod
    def of(cls, stack: EtcdStack, target: Lab) -> StatusProbe:
        """Return the probe of a stack on a target, started or not."""
        return cls(members=stack.members_on(target), clock=stack.clock)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Ask all members at once."""
        answers = self.members.ask(EtcdClient.status, timeout_s)
        now = self.clock.now_ns()
        statuses = answered(answers)
        held = float(roles.has_quorum(statuses, len(answers)))
        readings = [Reading(name="quorum", node="", at_ns=now, value=held)]
        for node, answer in answers.items():
            held_roles = {"leader": node == roles.leader(statuses), "follower": node in roles.followers(statuses)}
            readings += _of_member(node, answer, held_roles, now)
        return readings


def _of_member(
    node: str, answer: MemberStatus | EtcdError, held_roles: Mapping[str, bool], at_ns: int
) -> list[Reading]:
    if isinstance(answer, EtcdError):
        return [
            Reading(name=name, node=node, at_ns=at_ns, value=None, why=str(answer))
            for name in ("up", *held_roles, "raft-term", "applied-index", "revision", "db-size")
        ]
    values = {
        "up": 1,
        **held_roles,
        "raft-term": answer.raft_term,
        "applied-index": answer.applied_index,
        "revision": answer.revision,
        "db-size": answer.db_size_bytes,
    }
    said = "; ".join(answer.errors)
    return [Reading(name=name, node=node, at_ns=at_ns, value=float(v), text=said) for name, v in values.items()]


# ---------------------------------------------------------------- replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One comparison: each member's status, and of those that answered the hash at `at_revision`."""

    at_ns: int
    statuses: Mapping[str, MemberStatus | EtcdError]
    at_revision: int = 0
    hashes: Mapping[str, KvHash | EtcdError] = field(default_factory=dict)

    @property
    def applied(self) -> Mapping[str, int]:
        """Applied index of each member that answered."""
        return {node: status.applied_index for node, status in answered(self.statuses).items()}

    @property
    def settled(self) -> bool:
        """Whether all answered and have applied the same log."""
        return len(self.applied) == len(self.statuses) and len(set(self.applied.values())) == 1

    @property
    def groups(self) -> Sequence[Sequence[str]]:
        """Members that hold the same, together; the greatest group first, more than one group: they differ.

        Held is the hash and, after the same log, the revision: a member that lost the last write hashes alike at
        the least revision. Hashes over different compactions say nothing, so those of the commonest one count.
        """
        made = answered(self.hashes)
        compactions = Counter(h.compact_revision for h in made.values())
        held: dict[tuple[int, int], list[str]] = {}
        for node, h in made.items():
            if h.compact_revision == compactions.most_common(1)[0][0]:
                held.setdefault((h.hash, self._revision_after_the_log(node)), []).append(node)
        return sorted(held.values(), key=len, reverse=True)

    def _revision_after_the_log(self, node: str) -> int:
        status = self.statuses[node]
        return status.revision if self.settled and isinstance(status, MemberStatus) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaProbe:
    """Compares the members' histories; "replica" readings, numbered by round.

    `read` compares at the least current revision, so traffic may go on: what a history was at a revision does not
    change, and a member that is just being restarted may answer later. The value is the hash, the text is JSON:
    round, at_revision, revision, applied_index, compact_revision, quiet.
    """

    members: Members
    clock: Clock = field(default_factory=MonotonicClock)
    rounds: Iterator[int] = field(default_factory=partial(itertools.count, 1))
    patience_s: float = _PATIENCE_S

    @classmethod
    def of(cls, stack: EtcdStack, target: Lab) -> ReplicaProbe:
        """Return the probe of a stack on a target, started or not; it counts rounds on."""
        return cls(members=stack.members_on(target), clock=stack.clock, rounds=stack.rounds)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Compare while traffic goes on; members that differ are compared again at once, to see whether it lasts.

        Statuses may take `timeout_s`, the hashes `patience_s`.
        """
        found = self._compare(timeout_s, self.patience_s)
        readings = self._readings(found, quiet=False)
        if len(found.groups) > 1:
            readings += self._readings(self._compare(timeout_s, self.patience_s), quiet=False)
        return readings

    def compare_quiet(self, deadline_s: float) -> Sequence[Reading]:
        """Compare after traffic has ended: when applied indexes are equal, or at the deadline as things then stand.

        Members that differ are bisected too. Readings are "quiet" only if the indexes were equal before the hashes
        and none moved while they were made; without that the comparison is no final one.
        """
        end_ns = self.clock.now_ns() + ns(deadline_s)
        while not self._look(1.0).settled and self.clock.now_ns() < end_ns:
            if not self.clock.sleep_until(self.clock.now_ns() + ns(_QUIET_POLL_S)):
                break
        found = self._compare(_HASH_S)
        quiet = found.settled and self._look(1.0).applied == found.applied
        readings = self._readings(found, quiet=quiet)
        return [*readings, *self._bisect(found)]

    def bisect(self) -> Sequence[Reading]:
        """Name each odd member and the first revision at which its history differs from the majority's.

        One "replica-bisect" reading an odd member, its value that revision; empty if all agree. Without a majority
        every member is held against the first, and the sentence says so. About log2(revisions) questions.
        """
        return self._bisect(self._compare(_HASH_S))

    # ------------------------------------------------------------ asking

    def _look(self, timeout_s: float) -> Round:
        """Ask for statuses alone."""
        at_ns = self.clock.now_ns()
        return Round(at_ns=at_ns, statuses=self.members.ask(EtcdClient.status, timeout_s))

    def _compare(self, timeout_s: float, patience_s: float = 0.0) -> Round:
        """Ask for statuses, then for every member's hash at the least revision among those that answered."""
        look = self._look(min(timeout_s, 2.0))
        found = answered(look.statuses)
        if not found:
            return look
        revision = min(s.revision for s in found.values())
        nodes = tuple(look.statuses if patience_s else found)
        return replace(look, at_revision=revision, hashes=self._hashes(revision, timeout_s, nodes, patience_s))

    def _hashes(
        self, revision: int, timeout_s: float, nodes: Sequence[str], patience_s: float = 0.0
    ) -> Mapping[str, KvHash | EtcdError]:
        until_ns = self.clock.now_ns() + ns(patience_s)
        question = partial(self._hash, revision=revision, until_ns=until_ns)
        return self.members.ask(question, max(timeout_s, patience_s), nodes)

    def _hash(self, client: EtcdClient, *, revision: int, until_ns: int) -> KvHash:
        """Ask a member again and again until `until_ns`: it may be on its way back, or catching up."""
        while True:
            try:
                return client.hash_kv(revision)
            except EtcdError as error:
                again_ns = self.clock.now_ns() + ns(_RETRY_S)
                if not _may_pass(error) or again_ns > until_ns or not self.clock.sleep_until(again_ns):
                    raise

    def _readings(self, found: Round, *, quiet: bool) -> list[Reading]:
        number = next(self.rounds)
        return [_replica(node, found, {"round": number, "quiet": quiet}) for node in found.statuses]

    # ------------------------------------------------------------ bisecting

    def _bisect(self, found: Round) -> list[Reading]:
        groups = found.groups
        if len(groups) < 2:
            return []
        reference = groups[0][0]
        against = "the majority" if len(groups[0]) * 2 > len(found.statuses) else f"{reference} (there is no majority)"
        return [self._bisected(odd, reference, against, found) for group in groups[1:] for odd in group]

    def _bisected(self, odd: str, reference: str, against: str, found: Round) -> Reading:
        at_ns = self.clock.now_ns()
        try:
            first, why = self._first_difference(odd, reference, found)
        except EtcdError as error:
            first, why = None, f"{odd} and {reference} differ; from where on can't be said: {error}"
        text = why or f"{odd} differs from {against} from revision {first} on"
        return Reading(
            name="replica-bisect",
            node=odd,
            at_ns=at_ns,
            value=None if first is None else float(first),
            why=why,
            text=text,
        )

    def _first_difference(self, odd: str, reference: str, found: Round) -> tuple[int | None, str]:
        """Return the first revision at which the two differ, or None and why it can't be said."""
        low, high = _comparable_from(found, reference), found.at_revision
        if self._same(odd, reference, high):
            return high + 1, ""  # equal as far as both go: one lacks what follows
        if not self._same(odd, reference, low):
            return (
                None,
                f"{odd} differs from {reference} already at revision {low}, where the comparable history begins",
            )
        while high - low > 1:  # alike at low, different at high
            middle = (low + high) // 2
            low, high = (middle, high) if self._same(odd, reference, middle) else (low, middle)
        return high, ""

    def _same(self, one: str, other: str, revision: int) -> bool:
        """Whether both hash alike at `revision`; EtcdError if one of them can't be asked."""
        answers = list(self._hashes(revision, _HASH_S, (one, other)).values())
        for answer in answers:
            if isinstance(answer, EtcdError):
                raise answer
        return len({answer.hash for answer in answers if isinstance(answer, KvHash)}) == 1


def _may_pass(error: EtcdError) -> bool:
    """Say whether a member that answers so may yet answer otherwise: it is down, or has not come so far."""
    return error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNAUTHENTICATED) or "future" in str(error)


def _replica(node: str, found: Round, numbered: Mapping[str, object]) -> Reading:
    status = found.statuses[node]
    made = found.hashes.get(node, status)
    facts = {**numbered, "at_revision": found.at_revision}
    if isinstance(status, MemberStatus):
        facts |= {"revision": status.revision, "applied_index": status.applied_index}
    if not isinstance(made, KvHash):
        return Reading(name="replica", node=node, at_ns=found.at_ns, value=None, why=str(made), text=json.dumps(facts))
    facts["compact_revision"] = made.compact_revision
    return Reading(name="replica", node=node, at_ns=found.at_ns, value=float(made.hash), text=json.dumps(facts))


def _comparable_from(found: Round, node: str) -> int:
    """Return the first revision that can be compared: 1, the empty store in which all begin alike, without compaction.

    The compact revision itself can't: newer versions answer it with a hash noted *before* they compacted.
    """
    made = found.hashes[node]
    first = made.compact_revision + 1 if isinstance(made, KvHash) else 1  # never compacted: -1
    return min(max(1, first), found.at_revision)
