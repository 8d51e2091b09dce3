"""Tables of names: ours, and what installed packages add by an entry point group (importlib.metadata).

ours: {"etcd": …} ──┐
entry points ───────┴─▶ one table │ UsageError naming both owners of a name, or what can't be loaded
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Entry = TypeVar("Entry")


def joined(ours: Mapping[str, Entry], group: str) -> dict[str, Entry]:
    """Return `ours` with the entry points of `group`; UsageError for a name taken twice or what can't be loaded."""
    table, owners = dict(ours), dict.fromkeys(ours, "chaosgate itself")
    for entry in entry_points(group=group):
        owner = f"{entry.dist.name if entry.dist else 'an unknown package'} ({entry.value})"
        what = f"{group}: {entry.name!r} of {owner}"
        if entry.name in table:
            raise UsageError(f"{what}: the name is taken by {owners[entry.name]}; rename or uninstall one")
        try:
            table[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"{what} can't be loaded: {error}; mend or uninstall it") from error
        owners[entry.name] = owner
    return table
