"""What each operation may have done, and which keys the fast path can decide.

    put, swap (ok or unknown)   write  pair (key, value)         failed: nothing at all
    get (ok), swap              read   pair (key, value/expect)  unknown get: nothing
    cas refused (ok, no swap)   saw something else than (key, expect)

A pair is a value on a key, as one code; the null of every key is a pair too, written before time began.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaos.model import Outcome
from gates.linearizability.history import APPEND, CAS, GET, NEVER, NULL, PUT, Bools, History, Ints

NONE = -1  # no pair, no cluster, no row
BEFORE_TIME = 0  # the rank of minus infinity; real times rank from 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roles:
    """Columns as long as the history; `written`, `read` and `unlike` are pairs or NONE. Counts are per pair or key."""

    history: History
    ok: Bools
    written: Ints
    read: Ints
    unlike: Ints
    null: Ints  # key → its null pair
    appended: Bools  # key → whether anything was appended there, even in vain: then null is the empty text
    pairs: int
    writers: Ints  # pair → how many operations that did not fail write it
    writer: Ints  # pair → one of them, or NONE
    call: Ints  # ranks of times: same order, same ties
    returned: Ints
    forever: int  # the rank of NEVER, greater than all

    def keys_for_search(self) -> Bools:
        """Say of each key whether the fast path can't decide it (rules: unique writes, no append, no odd swap)."""
        h, wanted = self.history, np.zeros(self.pairs, dtype=np.bool_)
        wanted[_present(self.read)] = True
        wanted[_present(self.unlike)] = True
        live_write = self.written != NONE
        empty = h.values.index("") if "" in h.values else NULL
        odd = live_write & ((h.value == NULL) | (h.value == empty))
        odd |= live_write & (h.op == CAS) & (h.value == h.expect)
        odd |= live_write & (wanted & (self.writers > 1))[self.written]
        searched: Bools = self.appended | (np.bincount(h.key[odd], minlength=len(h.keys)) > 0)
        return searched

    def never_written(self) -> Ints:
        """Return the rows of ok reads and swaps that saw a value which no operation can have written."""
        from_nowhere = np.ones(self.pairs, dtype=np.bool_)
        from_nowhere[_present(self.written)] = False
        from_nowhere[self.null] = False
        seen = self.ok & (self.read != NONE) & from_nowhere[self.read] & ~self.appended[self.history.key]
        return np.flatnonzero(seen)


def _present(pairs: Ints) -> Ints:
    present: Bools = pairs != NONE
    return pairs[present]


def roles_of(history: History) -> Roles:
    """Work out every operation's role. n log n."""
    h, ok = history, history.outcome == Outcome.OK
    live = h.outcome != Outcome.FAILED
    swaps = live & (h.op == CAS) & (h.swapped | ~ok)
    writes = swaps | (live & (h.op == PUT))
    gets = ok & (h.op == GET)
    value, expect, null, pairs = _pairs(h)
    written = np.where(writes, value, NONE)
    writer = np.full(pairs, NONE, dtype=np.int64)
    writer[written[writes]] = np.flatnonzero(writes)
    call, returned, forever = _ranks(h.call_ns, np.where(ok, h.return_ns, NEVER))
    return Roles(
        history=h,
        ok=ok,
        written=written,
        read=np.where(gets, value, np.where(swaps, expect, NONE)),
        unlike=np.where(ok & (h.op == CAS) & ~h.swapped, expect, NONE),
        null=null,
        appended=np.bincount(h.key[h.op == APPEND], minlength=len(h.keys)) > 0,
        pairs=pairs,
        writers=np.bincount(written[writes], minlength=pairs),
        writer=writer,
        call=call,
        returned=returned,
        forever=forever,
    )


def _pairs(h: History) -> tuple[Ints, Ints, Ints, int]:
    """Return dense codes of (key, value), of (key, expect), of each key's null, and how many there are."""
    width, n = len(h.values) + 1, len(h)
    keys = np.arange(len(h.keys), dtype=np.int64)
    wide = np.concatenate([h.key * width + h.value + 1, h.key * width + h.expect + 1, keys * width])
    distinct, dense = np.unique(wide, return_inverse=True)
    return dense[:n], dense[n : 2 * n], dense[2 * n :], len(distinct)


def _ranks(call: Ints, returned: Ints) -> tuple[Ints, Ints, int]:
    distinct, ranks = np.unique(np.concatenate([call, returned, [NEVER]]), return_inverse=True)
    ranks = ranks + 1
    return ranks[: len(call)], ranks[len(call) : -1], len(distinct)
