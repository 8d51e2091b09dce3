"""Who is what, read from what each member says of itself. Pure.

    etcd1: leader=2 term=7 ┐
    etcd2: leader=2 term=7 ├─▶ etcd2 says so of itself, two more agree: leader, and a quorum of 3
    etcd3: leader=2 term=7 ┘

A member cut off may go on calling itself leader for an election timeout: the highest Raft term wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.stacks.etcd.client import MemberStatus

    Statuses = Mapping[str, MemberStatus]  # of the members that answered


def quorum(members: int) -> int:
    """Return how many of `members` must agree: more than half."""
    return members // 2 + 1


def leader(statuses: Statuses) -> str | None:
    """Return the member that calls itself leader in the highest term, None if nobody does."""
    own = {name: s.raft_term for name, s in statuses.items() if s.leader == s.member_id != 0}
    return max(own, key=own.__getitem__) if own else None


def followers(statuses: Statuses) -> tuple[str, ...]:
    """Return the members that follow that leader in its term; empty if there is none."""
    return tuple(name for name in _agreeing(statuses) if name != leader(statuses))


def successor(role: str, names: Sequence[str], statuses: Statuses) -> str:
    """Return who should lead so that all of `names` hold `role`; "" if they do, or if nobody could see to that."""
    first, others = leader(statuses), followers(statuses)
    if role == "leader" and len(names) == 1 and names[0] in others:
        return names[0]
    if role == "follower" and first in names:
        return next((name for name in others if name not in names), "")
    return ""


def has_quorum(statuses: Statuses, members: int) -> bool:
    """Whether enough of `members` were seen to agree on one leader that is among them."""
    return len(_agreeing(statuses)) >= quorum(members)


def not_ready(statuses: Statuses, members: Sequence[str]) -> str:
    """Return what keeps the cluster from being ready: all members answer and follow one leader; "" if they do."""
    if silent := [name for name in members if name not in statuses]:
        return f"{', '.join(silent)}: no answer"
    if leader(statuses) is None:
        return "nobody leads"
    if astray := sorted(set(members) - set(_agreeing(statuses))):
        return f"{', '.join(astray)}: does not follow {leader(statuses)}"
    return ""


def _agreeing(statuses: Statuses) -> tuple[str, ...]:
    """Return the leader and those that name it in the same term."""
    first = leader(statuses)
    if first is None:
        return ()
    held = (statuses[first].member_id, statuses[first].raft_term)
    return tuple(name for name, s in statuses.items() if (s.leader, s.raft_term) == held)
