"""Tables of names: ours, and what installed packages add by an entry point group (importlib.metadata).

ours: {"etcd": …} ──┐
entry points ───────┴─▶ one table │ UsageError naming both owners of a name, or what can't be loaded

A table is joined when it is first looked into: the agent, a lab's init and `chaosgate heal` import modules beside one,
and a stranger's package must not run in them, or keep them from running.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Entry = TypeVar("Entry")


class Table(MutableMapping[str, Entry]):
    """`joined`, at first use; each use of one that can't be joined is a UsageError."""

    def __init__(self, ours: Mapping[str, Entry], group: str) -> None:
        self._ours, self._group = ours, group

    @cached_property
    def _joined(self) -> dict[str, Entry]:
        return joined(self._ours, self._group)

    def __getitem__(self, name: str) -> Entry:
        return self._joined[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._joined[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._joined[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)


def joined(ours: Mapping[str, Entry], group: str) -> dict[str, Entry]:
    """Return `ours` with the entry points of `group`; UsageError for a name taken twice or what can't be loaded."""
    from importlib.metadata import entry_points  # noqa: PLC0415 — it takes longer than a lab's init has to begin

    table, owners = dict(ours), dict.fromkeys(ours, "chaosgate itself")
    for entry in entry_points(group=group):
        owner = f"{entry.dist.name if entry.dist else 'an unknown package'} ({entry.value})"
        what = f"{group}: {entry.name!r} of {owner}"
        if entry.name in table:
            raise UsageError(f"{what}: the name is taken by {owners[entry.name]}; rename or uninstall one")
        try:
            table[entry.name] = entry.load()
        except Exception as error:  # a stranger's code may raise anything, and that package is to be named
            why = f"{type(error).__name__}: {error}"
            raise UsageError(f"{what} can't be loaded: {why}; mend or uninstall it") from error
        owners[entry.name] = owner
    return table
