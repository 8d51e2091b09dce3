"""What runs on a target: `STACKS` maps the name in `stack:` to how the stack is made.

    stack: {etcd: {members: 3}}  ─▶  STACKS["etcd"].settings_type(members=3)  ─▶  STACKS["etcd"](experiment)

A stranger's package adds one by the entry point group `chaosgate.stacks`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.registry import Table
from chaos.stacks.etcd.logs import suspicious_lines
from chaos.stacks.etcd.settings import OPERATIONS, PROCESS, ROLES, EtcdSettings, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.model import Experiment, Node, StackSpec
    from chaos.ports import LogReader, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class StackKind:
    """A ports.StackFactory that also says what an experiment may say of it; what it leaves empty is not checked.

    `settings_type` is a dataclass. `processes` are the names that a fault can be aimed at, `nodes` the nodes that the
    stack wants by its settings, so that a file is checked as a whole before anything is made of it. `state_gates`:
    completeness of an slo → the kinds of gates that judge it. `readings`: names of its probes' readings that the engine
    goes by; without "quorum" there is no `abort-when: quorum-lost`. `log_reader` reads `<node>-<process>.log`, which
    each of its processes must then leave; without one the logs are not read, and `no-unexpected-exit` says so.
    """

    settings_type: type[Any]
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    make: Callable[[StackSpec], Stack]
    processes: tuple[str, ...] = ()
    nodes: Callable[[Mapping[str, Any]], Sequence[Node]] | None = None
    state_gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    readings: tuple[str, ...] = ()
    log_reader: LogReader | None = None

    def __call__(self, experiment: Experiment) -> Stack:
        """Return the stack, not yet started; UsageError if its settings are wrong."""
        return self.make(experiment.stack)


def _etcd(spec: StackSpec) -> Stack:
    from chaos.stacks.etcd.stack import EtcdStack  # noqa: PLC0415 — reading an experiment needs no HTTP client

    return EtcdStack.of(spec)


STACKS: Mapping[str, StackKind] = Table(
    {
        "etcd": StackKind(
            settings_type=EtcdSettings,
            roles=ROLES,
            operations=OPERATIONS,
            make=_etcd,
            processes=(PROCESS,),
            nodes=nodes,
            state_gates={"exact": ("acknowledged-writes", "linearizable", "replicas-equal")},
            readings=("quorum",),
            log_reader=suspicious_lines,
        )
    },
    "chaosgate.stacks",
)
