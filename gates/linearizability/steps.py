"""One key's operations as the search takes them: values as codes, or as text once anything was appended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.model import Outcome
from gates.linearizability.history import APPEND, CAS, GET, NULL, Ints
from gates.linearizability.roles import NONE, Roles
from gates.linearizability.search import APPEND as APPENDS
from gates.linearizability.search import READ, SWAP, UNLIKE, UNSEEN, WRITE, Search, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def rows_of(roles: Roles, key: int) -> Ints:
    """Return the rows of a key that may have had an effect or saw something."""
    h = roles.history
    silent = (h.outcome == Outcome.FAILED) | ((h.op == GET) & ~roles.ok)
    return np.flatnonzero((h.key == key) & ~silent)


def search_of(roles: Roles, rows: Ints) -> Search:
    """Return the search over some rows of one key."""
    h = roles.history
    if roles.appended[h.key[rows]].any():
        return _texts(roles, rows)
    return _register([_step(roles, int(row), int) for row in rows])


def _step(roles: Roles, row: int, form: Callable[[Any], Any]) -> Step:
    h = roles.history
    kind, wants, gives = WRITE, NULL, form(h.value[row])
    if h.op[row] == GET:
        kind, wants, gives = READ, form(h.value[row]), NULL
    elif h.op[row] == CAS:
        kind, wants = (UNLIKE if roles.unlike[row] != NONE else SWAP), form(h.expect[row])
    elif h.op[row] == APPEND:
        kind = APPENDS
    return Step(int(roles.call[row]), int(roles.returned[row]), kind, wants, gives, bool(roles.ok[row]), row)


def _register(steps: Sequence[Step]) -> Search:
    """Make one value of all that nobody looks for; drop unsure writes of it unless a refused swap may need one."""
    looked_for = {step.wants for step in steps if step.kind != WRITE}
    refused = any(step.kind == UNLIKE for step in steps)
    kept = []
    for step in steps:
        unseen = step.kind in {WRITE, SWAP} and step.gives not in looked_for
        if step.sure or refused or not unseen:
            kept.append(step._replace(gives=UNSEEN) if unseen else step)
    return Search(kept, state=NULL)


def _texts(roles: Roles, rows: Ints) -> Search:
    """Return a search whose state is the text or, with appends alone, how much of the longest text read is there."""
    h = roles.history

    def text(code: np.int64) -> str:
        return "" if code == NULL else str(h.values[int(code)])

    steps = [_step(roles, int(row), text) for row in rows]
    read = [step.wants for step in steps if step.kind == READ]
    longest = max(read, key=len, default="")
    if any(s.kind in {WRITE, SWAP, UNLIKE} for s in steps) or not all(map(longest.startswith, read)):
        return Search(steps, state="")
    return Search([s._replace(wants=len(s.wants)) if s.kind == READ else s for s in steps], state=0, target=longest)
