"""What of the kernel's network state a fault could have changed, in a form that can be compared: before == after.

Links (name, flags, master, mtu), qdiscs and nft rules of a namespace; counters and handles that change by
themselves are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

from chaos.agent.ground import inside

if TYPE_CHECKING:
    from chaos.agent.ground import Ground

LINK_KEYS = ("ifname", "flags", "mtu", "master", "operstate")
QDISC_KEYS = ("kind", "handle", "parent", "dev", "root", "options")
_COUNTER = re.compile(r"counter packets \d+ bytes \d+| expires \S+")
TIMEOUT_S = 10


def state(ground: Ground, nodes: list[str]) -> dict[str, Any]:
    """Return {namespace: {"links", "qdiscs", "rules"}} of the hub ("") and the nodes."""
    found = {"": _of(ground.hub_netns)}
    return found | {node: _of(ground.place(node).netns) for node in nodes}


def _of(netns: int) -> dict[str, Any]:
    with inside(netns):
        links = _json(["ip", "-j", "link"])
        qdiscs = _json(["tc", "-j", "qdisc"])
        rules = _output(["nft", "list", "ruleset"])
    return {
        "links": sorted((pick(link, LINK_KEYS) for link in links), key=str),
        "qdiscs": sorted((pick(qdisc, QDISC_KEYS) for qdisc in qdiscs), key=str),
        "rules": _COUNTER.sub("", rules),
    }


def pick(data: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of `data` under `keys`."""
    return {key: data[key] for key in keys if key in data}


def _json(argv: list[str]) -> list[dict[str, Any]]:
    return list(json.loads(_output(argv) or "[]"))


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout
