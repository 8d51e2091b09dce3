"""The agents of a cluster: put there, found, spoken to, taken away.

manifests/agent.yaml ─install─▶ a pod on every machine ─exec─▶ AgentClient of each ─▶ Fleet
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from chaos.agent.identity import modules
from chaos.agent.points import effect
from chaos.errors import AgentError, CapabilityError, TargetError
from chaos.targets.agents.client import AgentClient
from chaos.targets.kubernetes.access import NOT_FOUND, answering
from chaos.targets.kubernetes.exec_stream import ExecStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.targets.kubernetes.access import Access

MANIFESTS = Path(__file__).with_name("manifests")
NAMESPACE = "chaosgate"
AGENT = "chaosgate-agent"
IMAGE = "chaosgate-agent:1"
JOURNAL = "/var/lib/chaosgate/journal"
MANAGER = "chaosgate"
READY_S = 120.0
HELLO_S = 60.0  # of which most is a Python's start
POLL_S = 0.2
_LAST = ("Role", "ServiceAccount", "ClusterRole", "Namespace")  # in this order to go, after all else


def resources(image: str = "") -> list[dict[str, Any]]:
    """Return what is installed, with another image if one is named."""
    return [one for one in yaml.safe_load_all(text(image)) if one]


def text(image: str = "") -> str:
    """Return the resources as YAML for kubectl, with the reasons that stand in the files."""
    files = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    whole = "---\n".join((MANIFESTS / name).read_text(encoding="utf-8") for name in files)
    return whole.replace(f"image: {IMAGE}\n", f"image: {image}\n") if image else whole


def install(access: Access, *, image: str = "", say: Callable[[str], None] = lambda _: None) -> None:
    """Put an agent on every machine and wait until all are ready; TargetError, CapabilityError: what is in the way."""
    from kubernetes import dynamic  # noqa: PLC0415

    with answering("what the cluster knows of", "get /apis"):
        client = dynamic.DynamicClient(access.api)
    for one in resources(image):
        name = f"{one['kind']} {one['metadata']['name']}"
        with answering(f"install {name}", f"create and patch {one['kind']}"):
            kind = client.resources.get(api_version=one["apiVersion"], kind=one["kind"])
            effect("agent.install", partial(_apply, client, kind, one))
        say(f"{name} is there")
    await_ready(access, say=say)


def _apply(client: Any, kind: Any, one: Mapping[str, Any]) -> None:
    client.server_side_apply(
        kind, body=one, namespace=one["metadata"].get("namespace"), field_manager=MANAGER, force_conflicts=True
    )


def uninstall(access: Access, *, say: Callable[[str], None] = lambda _: None) -> None:
    """Take away all that `install` put there, the agents first, so that each undoes what it has in force."""
    from kubernetes import dynamic  # noqa: PLC0415

    with answering("what the cluster knows of", "get /apis"):
        client = dynamic.DynamicClient(access.api)
    for one in sorted(resources(), key=lambda one: _LAST.index(one["kind"]) if one["kind"] in _LAST else -1):
        name = f"{one['kind']} {one['metadata']['name']}"
        with answering(f"uninstall {name}", f"delete {one['kind']}"):
            kind = client.resources.get(api_version=one["apiVersion"], kind=one["kind"])
            effect("agent.uninstall", partial(_remove, kind, one))
        say(f"{name} is gone")


def _remove(kind: Any, one: Mapping[str, Any]) -> None:
    """Delete a resource and wait until it is gone; content to find none."""
    from kubernetes.client import ApiException  # noqa: PLC0415

    where = {"name": one["metadata"]["name"], "namespace": one["metadata"].get("namespace")}
    until = time.monotonic() + READY_S
    try:
        kind.delete(**where, propagation_policy="Foreground")
        while kind.get(**where):
            if time.monotonic() > until:
                raise TargetError(f"{one['kind']} {where['name']} is still there {READY_S:.0f} s after it was deleted")
            time.sleep(POLL_S)
    except ApiException as error:  # also the dynamic client's own, which inherits it
        if error.status != NOT_FOUND:
            raise


def await_ready(access: Access, *, say: Callable[[str], None] = lambda _: None) -> None:
    """Wait until an agent is ready on every machine that is to have one; TargetError says which is not, and why."""
    until = time.monotonic() + READY_S
    while True:
        with answering("the agents", "get daemonsets"):
            daemons = access.apps.read_namespaced_daemon_set(AGENT, NAMESPACE)
        status = daemons.status
        seen = (status.observed_generation or 0) >= daemons.metadata.generation
        wanted, ready = status.desired_number_scheduled or 0, status.number_ready or 0
        if seen and wanted and ready == wanted and (status.updated_number_scheduled or 0) == wanted:
            say(f"{ready} agents are ready")
            return
        if time.monotonic() > until:
            why = "; ".join(_why_not(access))
            raise TargetError(f"{ready} of {wanted} agents are ready after {READY_S:.0f} s: {why}")
        time.sleep(POLL_S)


def _why_not(access: Access) -> list[str]:
    with answering("the agents' pods", "list pods"):
        found = access.core.list_namespaced_pod(NAMESPACE, label_selector=f"app={AGENT}").items
        events = access.core.list_namespaced_event(NAMESPACE).items
    waiting = [
        f"{pod.spec.node_name}: {state.waiting.reason}: {state.waiting.message or ''}"
        for pod in found
        for one in pod.status.container_statuses or ()
        if (state := one.state) and state.waiting
    ]
    refused = [event.message for event in events if event.reason == "FailedCreate"]
    return [*waiting, *refused[-1:]] or ["no pod of theirs tells why"]


def agent_pods(access: Access, machines: Sequence[str]) -> dict[str, str]:
    """Return the agent's pod on each machine; CapabilityError naming where there is none."""
    with answering("the agents", f"list pods in namespace {NAMESPACE}"):
        listed = access.core.list_namespaced_pod(NAMESPACE, label_selector=f"app={AGENT}").items
    there = {
        pod.spec.node_name: pod.metadata.name
        for pod in listed
        if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp
    }
    if missing := [machine for machine in machines if machine not in there]:
        raise CapabilityError(f"no agent runs on {', '.join(missing)}; `chaosgate install` puts one there")
    return {machine: there[machine] for machine in machines}


def greet(
    access: Access, pod: str, *, lease_s: float, shaper: str | None, heard: Callable[[dict[str, Any]], None]
) -> tuple[AgentClient, dict[str, Any]]:
    """Start an agent in its pod; return it and its hello. TargetError if it does not come up."""
    argv = ["python3", "-m", "chaos.agent"]
    with answering(f"an agent in {NAMESPACE}/{pod}", "create pods/exec in namespace chaosgate"):
        stream = effect("agent.start", lambda: ExecStream(access.api, NAMESPACE, pod, "agent", argv))
    client = AgentClient(stream, lease_s=lease_s, on_event=heard, name=f"agent in {pod}")
    hello = {
        "nodes": [],
        "lab_socket": "",
        "hub_netns": "/proc/1/ns/net",  # of the machine: the agent sees its processes
        "journal": JOURNAL,
        "lease_s": lease_s,
        "shaper": shaper,
    }
    try:
        told = client.hello(hello, HELLO_S)
    except AgentError as error:
        client.close()
        raise TargetError(f"{pod}: {error}") from error
    if told["modules"] != modules():
        client.close()
        would = "install the image of this version (`chaosgate image` makes it), under another name than the old one's"
        raise TargetError(f"{NAMESPACE}/{pod} runs an agent of another version than this chaosgate: {would}")
    return client, told
