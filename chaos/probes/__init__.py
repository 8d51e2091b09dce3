"""What looks and never touches: `PROBES` maps a probe's name to the stack it belongs to and how it is made.

    PROBES["etcd-status"].make(stack, target).read(timeout_s) ─▶ readings, one or more a node

A stranger's package adds one by the entry point group `chaosgate.probes`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.probes import etcd, flink, kafka
from chaos.registry import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.ports import Probe, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeKind:
    """How a probe is made of a stack and the target that it runs on, and how often it looks."""

    stack: str
    make: Callable[[Any, Any], Probe]
    every_s: float


PROBES: Mapping[str, ProbeKind] = Table(
    {
        "etcd-status": ProbeKind(stack="etcd", make=etcd.StatusProbe.of, every_s=0.5),
        "etcd-replicas": ProbeKind(stack="etcd", make=etcd.ReplicaProbe.of, every_s=5.0),
        "kafka-status": ProbeKind(stack="kafka", make=kafka.StatusProbe.of, every_s=0.5),
        "kafka-stable": ProbeKind(stack="kafka", make=kafka.StableProbe.of, every_s=1.0),
        "flink-cluster": ProbeKind(stack="flink", make=flink.ClusterProbe.of, every_s=0.5),
        "flink-job": ProbeKind(stack="flink", make=flink.JobProbe.of, every_s=1.0),
    },
    "chaosgate.probes",
)


def probes_of(stack: Stack, target: Any) -> dict[str, tuple[Probe, float]]:
    """Return name → (probe, seconds between two looks) of the probes that know this stack."""
    return {
        name: (kind.make(stack, target), kind.every_s) for name, kind in PROBES.items() if kind.stack == stack.spec.name
    }
