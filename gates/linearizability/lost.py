"""What a generator that was cut short may have done without a record of it.

    recorded ───────────────────▶│ last flush     …lost…
                                 put v? (called about here, outcome unknown)
    another client                        get → v      nobody recorded a write of v: no proof of anything

A history is judged twice. *Relaxed*: nothing that a lost write could explain is held against the system, so what is
still illegal is certain. *Supplemented*: each value that nobody recorded is an unknown write, called at the last flush;
what is illegal only there rests on what was lost, and the answer is unknown.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chaos.model import Outcome
from gates.linearizability.history import CAS, GET, NEVER, NULL, PUT, UNRECORDED, Bools, History, Ints
from gates.linearizability.roles import NONE, Roles


def _unrecorded(roles: Roles) -> tuple[Bools, Ints]:
    """Return which rows saw a value that no row (even a failed one) writes, and one such row for each value."""
    h = roles.history
    recorded = np.zeros(roles.pairs, dtype=np.bool_)
    recorded[roles.written[roles.written != NONE]] = True
    recorded[roles.null] = True
    failed = np.flatnonzero((h.outcome == Outcome.FAILED) & (h.op != GET))
    pair = h.key * (len(h.values) + 1) + h.value
    seen = (roles.read != NONE) & ~recorded[roles.read]
    looked_for = h.key * (len(h.values) + 1) + np.where(h.op == GET, h.value, h.expect)
    seen &= ~np.isin(looked_for, pair[failed])
    _, first = np.unique(roles.read[seen], return_index=True)
    return seen, np.flatnonzero(seen)[first]


def relaxed(roles: Roles) -> History:
    """Return the history without what a lost write may explain.

    Gets of unrecorded values and refused swaps are left out; a swap that expects an unrecorded value is a put.
    """
    seen, _ = _unrecorded(roles)
    h = roles.history
    op = np.where(seen & (h.op == CAS), PUT, h.op)
    kept = ~(seen & (h.op == GET)) & (roles.unlike == NONE)
    return replace(h, op=op).rows(kept)


def supplemented(roles: Roles, flushed_ns: int) -> History:
    """Return the history with an unknown put of every unrecorded value, called at `flushed_ns`."""
    _, rows = _unrecorded(roles)
    h, count = roles.history, len(rows)
    value = np.where(h.op[rows] == GET, h.value[rows], h.expect[rows])

    def more(column: Ints, added: Ints | int) -> Ints:
        return np.concatenate([column, np.broadcast_to(np.asarray(added, dtype=column.dtype), count)])

    return replace(
        h,
        key=more(h.key, h.key[rows]),
        client=more(h.client, h.client[rows]),
        op=more(h.op, PUT),
        value=more(h.value, value),
        expect=more(h.expect, NULL),
        swapped=np.concatenate([h.swapped, np.zeros(count, dtype=np.bool_)]),
        call_ns=more(h.call_ns, flushed_ns),
        return_ns=more(h.return_ns, NEVER),
        outcome=more(h.outcome, int(Outcome.UNKNOWN)),
        place=more(h.place, UNRECORDED),
    )
