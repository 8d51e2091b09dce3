"""What runs on a target: `STACKS` maps the name in `stack:` to how the stack is made.

    stack: {etcd: {members: 3}}  ─▶  STACKS["etcd"].settings_type(members=3)  ─▶  STACKS["etcd"](experiment)

A stranger's package adds one by the entry point group `chaosgate.stacks`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from chaos.errors import UsageError
from chaos.stacks.etcd.settings import OPERATIONS, ROLES, EtcdSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model import Experiment, StackSpec
    from chaos.ports import Stack

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackKind:
    """A ports.StackFactory that also says what its settings are (a dataclass), its roles and its operations."""

    settings_type: type[Any]
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    make: Callable[[StackSpec], Stack]

    def __call__(self, experiment: Experiment) -> Stack:
        """Return the stack, not yet started; UsageError if its settings are wrong."""
        return self.make(experiment.stack)


def merged(own: Mapping[str, Entry], group: str) -> dict[str, Entry]:
    """Return `own` with what installed packages add under an entry point group; UsageError for a name taken twice."""
    table = dict(own)
    for entry in entry_points(group=group):
        if entry.name in table:
            raise UsageError(f"{entry.value}: the name {entry.name!r} in {group} is taken; rename or uninstall one")
        table[entry.name] = entry.load()
    return table


def _etcd(spec: StackSpec) -> Stack:
    from chaos.stacks.etcd.stack import EtcdStack  # noqa: PLC0415 — reading an experiment needs no HTTP client

    return EtcdStack.of(spec)


STACKS: Mapping[str, StackKind] = merged(
    {"etcd": StackKind(settings_type=EtcdSettings, roles=ROLES, operations=OPERATIONS, make=_etcd)},
    "chaosgate.stacks",
)
