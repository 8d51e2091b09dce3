"""From a key that no order explains to the few operations that contradict each other.

What may be left out without making a good history look bad: anything that only looked (gets, refused swaps); writes
called after everybody had looked; and, with no refused swap left, a write that nobody who is left can have read. So
what remains is by itself a reason. Halves, quarters … as in Zeller & Hildebrandt's delta debugging, IEEE TSE 28(2),
2002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from gates.linearizability.history import APPEND, CAS, Bools, Ints
from gates.linearizability.roles import NONE, Roles

if TYPE_CHECKING:
    from collections.abc import Callable


class Trial(Protocol):
    """Tells whether some rows are illegal by themselves."""

    def in_time(self) -> bool:
        """Say whether there is time for another question."""
        ...

    def illegal(self, rows: Ints) -> bool:
        """Say whether no order explains the rows; False if that can't be told in time."""
        ...


def shrunk(roles: Roles, rows: Ints, trial: Trial) -> Ints:
    """Return a smaller illegal part of `rows` (all of one key), and for each read a write of what it read."""
    looks = rows[_looks(roles, rows)]
    needed = _fewest(looks, lambda kept: trial.illegal(_with_looks(roles, rows, kept)), trial)
    fewer = _with_looks(roles, rows, needed)
    if (roles.unlike[fewer] != NONE).any() or roles.appended[roles.history.key[fewer]].any():
        return fewer
    writes = _fewest(fewer[~_looks(roles, fewer)], lambda kept: _illegal_with_writes(roles, fewer, kept, trial), trial)
    return _with_sources(roles, rows, fewer[_looks(roles, fewer) | np.isin(fewer, writes)])


def _fewest(removable: Ints, illegal: Callable[[Ints], bool], trial: Trial) -> Ints:
    """Leave out chunk after chunk, the latest first, as long as what remains is illegal."""
    size = max(1, len(removable) // 2)
    while len(removable):
        for end in range(len(removable), 0, -size):
            if not trial.in_time():
                return removable
            fewer = np.r_[removable[: max(0, end - size)], removable[end:]]
            if illegal(fewer):
                removable = fewer
        if size == 1:
            break
        size = max(1, size // 2)
    return removable


def _looks(roles: Roles, rows: Ints) -> Bools:
    """Say which rows only look: gets and refused swaps."""
    looks: Bools = (roles.written[rows] == NONE) & (roles.history.op[rows] != APPEND)
    return looks


def _with_looks(roles: Roles, rows: Ints, kept: Ints) -> Ints:
    """Return the rows with only `kept` of the looks, less the writes that come after everybody had looked."""
    rows = rows[~_looks(roles, rows) | np.isin(rows, kept)]
    observers = rows[_looks(roles, rows) | (roles.ok[rows] & (roles.history.op[rows] == CAS))]
    in_time: Bools = roles.call[rows] <= roles.returned[observers].max(initial=0)
    return rows[in_time]


def _illegal_with_writes(roles: Roles, rows: Ints, kept: Ints, trial: Trial) -> bool:
    """Say whether `rows` with only `kept` of the writes are illegal, and nobody left can have read another one."""
    fewer = rows[_looks(roles, rows) | np.isin(rows, kept)]
    gone, sure = np.setdiff1d(rows, fewer), kept[roles.ok[kept]]
    sure = sure[np.argsort(roles.call[sure], kind="stable")]
    soonest = np.r_[np.minimum.accumulate(roles.returned[sure][::-1])[::-1], roles.forever]
    over = soonest[np.searchsorted(roles.call[sure], roles.returned[gone], side="right")]
    for reader in fewer[roles.read[fewer] != NONE]:  # `over`: when another write certainly ended the one that is gone
        source = (roles.written[gone] == roles.read[reader]) & (roles.returned[reader] >= roles.call[gone])
        if (source & (roles.call[reader] <= over)).any():
            return False
    return trial.illegal(fewer)


def _with_sources(roles: Roles, rows: Ints, witness: Ints) -> Ints:
    """Add, for every value read whose writes were all left out, the latest that the reader can have heard of."""
    sources = []
    for reader in witness[roles.read[witness] != NONE]:
        if (roles.written[witness] == roles.read[reader]).any():
            continue
        known = rows[(roles.written[rows] == roles.read[reader]) & (roles.call[rows] <= roles.returned[reader])]
        sources += known[np.argsort(roles.call[known])][-1:].tolist()
    return np.unique(np.r_[witness, sources]).astype(np.int64)
