"""Three pods that answer over HTTP, each on a machine of its own: what faults are tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.targets.kubernetes import agent_image

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
