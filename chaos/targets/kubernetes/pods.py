"""Which pods are the nodes of a stack, and where they run. Pure, but for the two lists that are asked for.

namespace, role → label selector ──▶ pods ──▶ Node(name, role, address, zone) and the machine, uid, containers of each
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import TargetError, UsageError
from chaos.model import Node
from chaos.targets.kubernetes.access import answering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.targets.kubernetes.access import Access

ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod that runs."""

    name: str
    role: str
    uid: str
    address: str
    machine: str
    zone: str = ""

    @property
    def node(self) -> Node:
        """Return it as a stack's node."""
        return Node(name=self.name, role=self.role, address=self.address, zone=self.zone)


def find(access: Access, namespace: str, roles: Mapping[str, str]) -> tuple[Pod, ...]:
    """Return the running pods of each role's label selector, by name.

    UsageError if a selector matches nothing; TargetError if a pod does not run, or has the machine's network.
    """
    with answering("the nodes' zones", "list nodes"):
        machines = access.core.list_node().items
    zones = {one.metadata.name: (one.metadata.labels or {}).get(ZONE, "") for one in machines}
    found: dict[str, Pod] = {}
    for role, selector in roles.items():
        with answering(f"the pods of {selector} in {namespace}", "list pods"):
            listed = access.core.list_namespaced_pod(namespace, label_selector=selector).items
        if not listed:
            raise UsageError(f"no pod in namespace {namespace} matches {selector}, which is to be the {role}")
        for one in listed:
            pod = read(one, role, zones)
            if other := found.get(pod.name):
                raise UsageError(f"{namespace}/{pod.name} is {other.role} and {role}; let each pod match one selector")
            found[pod.name] = pod
    return tuple(found[name] for name in sorted(found))


def read(pod: Any, role: str, zones: Mapping[str, str]) -> Pod:
    """Return a pod of the API's; TargetError if it can't be a stack's node now."""
    where = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if pod.spec.host_network:
        raise TargetError(f"{where} has its machine's own network: a fault of its packets would hit the whole machine")
    if pod.spec.share_process_namespace:
        raise TargetError(f"{where} shares one PID namespace among its containers: none can be told from another")
    if pod.spec.host_pid:
        raise TargetError(f"{where} sees its machine's processes: they could not be told from its own")
    if ":" in (pod.status.pod_ip or ""):
        raise TargetError(f"{where} has the address {pod.status.pod_ip}; only IPv4 can be shaped and cut")
    if pod.metadata.deletion_timestamp or pod.status.phase != "Running" or not pod.status.pod_ip:
        phase = "Terminating" if pod.metadata.deletion_timestamp else pod.status.phase
        raise TargetError(f"{where} is {phase}, and not a running pod; wait until it is")
    return Pod(
        name=pod.metadata.name,
        role=role,
        uid=pod.metadata.uid,
        address=pod.status.pod_ip,
        machine=pod.spec.node_name,
        zone=zones.get(pod.spec.node_name, ""),
    )


def machines_of(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Return the machines that pods run on."""
    return tuple(sorted({pod.machine for pod in pods}))
