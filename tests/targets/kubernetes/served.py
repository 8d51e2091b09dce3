"""Three pods that answer over HTTP, each on a machine of its own: what faults are tried on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from chaos.targets.kubernetes import agent_image
from chaos.targets.kubernetes.exec_stream import ExecStream

if TYPE_CHECKING:
    from chaos.targets.kubernetes.access import Access

READY_S = 90
LEASE_S = 4.0
PORT = 8080
ROLES = {"member": "app=served"}
SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Says(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.ThreadingHTTPServer(("", 8080), Says).serve_forever()
"""


def stateful_set() -> dict[str, Any]:
    """Return the StatefulSet."""
    container = {
        "name": "served",
        "image": agent_image.TAG,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", SERVER],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    labels = {"app": "served"}
    apart = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    pod = {
        "terminationGracePeriodSeconds": 1,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "containers": [container],
    }
    spec = {
        "serviceName": "served",
        "replicas": 3,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"metadata": {"name": "served"}, "spec": spec}


def ready(access: Access) -> int:
    """Return how many of them are."""
    return access.apps.read_namespaced_stateful_set("served", "default").status.ready_replicas or 0


def run(api: Any, namespace: str, pod: str, container: str, argv: list[str], timeout_s: float) -> str:
    """Run a program in a container to its end and return what it said; OSError if it does not end in time."""
    one = ExecStream(api, namespace, pod, container, argv)
    late = threading.Timer(timeout_s, one.end, (0.0,))
    late.start()
    said = b"".join(one.lines())
    ended = late.is_alive()
    late.cancel()
    one.end(0.0)
    if not ended:
        raise OSError(f"{namespace}/{pod}: {argv[0]} has not ended within {timeout_s:g} s")
    return said.decode(errors="replace")
