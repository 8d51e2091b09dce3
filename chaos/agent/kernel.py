"""What of the kernel's network state a fault could have changed, in a form that can be compared: before == after.

Links (name, flags, master, mtu), qdiscs and nft rules of a namespace. Left out: counters, which change by
themselves, rules that do nothing, and the shaper's own devices, which stand by between faults. A kind whose program
is not installed, or fails, is None, not empty: nothing was looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from chaos.agent.ground import inside
from chaos.environment import of_children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.agent.ground import Ground

LINK_KEYS = ("ifname", "flags", "mtu", "master", "operstate")
QDISC_KEYS = ("kind", "handle", "parent", "dev", "root", "options")
TIMEOUT_S = 10
LINKS, QDISCS, RULES = ("ip", "-j", "link"), ("tc", "-j", "qdisc"), ("nft", "-j", "list", "ruleset")
PROGRAMS = (LINKS, QDISCS, RULES)
DEVICES = "chaosgate"  # how the names of the shaper's own devices begin


def state(ground: Ground, nodes: list[str]) -> dict[str, Any]:
    """Return {namespace: {"links", "qdiscs", "rules"}} of the hub ("") and the nodes; OSError if one can't be read.

    A machine with pods has no hub of ours: what is in its own network changes with every pod that comes or goes.
    """
    found = {"": _of(ground.hub_netns)} if ground.lab_socket else {}
    return found | {node: _of(ground.place(node).netns) for node in nodes}


def _of(netns: int) -> dict[str, Any]:
    with inside(netns):
        links, qdiscs, rules = (_said(program) for program in PROGRAMS)
    return {
        "links": None if links is None else _picked([_state(link) for link in links], "ifname", LINK_KEYS),
        "qdiscs": None if qdiscs is None else _picked(qdiscs, "dev", QDISC_KEYS),
        "rules": None if rules is None else in_effect(rules["nftables"] if rules else []),
    }


def _state(link: dict[str, Any]) -> dict[str, Any]:
    """Return a link whose driver tells no state, and that has a carrier, as one that is up: it must be taken for that.

    A bridge says UNKNOWN until the kernel gets round to it, up to a second later (Documentation/networking/
    operstates.rst, 2: IF_OPER_UNKNOWN; net/core/link_watch.c).
    """
    if link.get("operstate") == "UNKNOWN" and "LOWER_UP" in link.get("flags", ()):
        return {**link, "operstate": "UP"}
    return link


def _picked(devices: list[dict[str, Any]], named: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return sorted((pick(one, keys) for one in devices if not _ours(one, named)), key=str)


def in_effect(ruleset: list[dict[str, Any]]) -> list[str]:
    """Return the objects of `nft -j list ruleset` that do something to packets, each as a line, in their order.

    A chain that is empty and accepts does nothing; nor does a jump there, nor a set that nobody names.
    """
    chains = [one["chain"] for one in ruleset if "chain" in one]
    rules = [one["rule"] for one in ruleset if "rule" in one]
    while True:
        full = {_home(rule) for rule in rules}
        idle = {_name(chain) for chain in chains if _name(chain) not in full and chain.get("policy") != "drop"}
        left = [rule for rule in rules if not _targets(rule) & idle]
        if len(left) == len(rules):
            break
        rules = left
    standing = [chain for chain in chains if _name(chain) not in idle]
    return [json.dumps(_lasting(one), sort_keys=True) for one in [*standing, *rules]]


def _name(chain: dict[str, Any]) -> tuple[str, str, str]:
    return chain["family"], chain["table"], chain["name"]


def _home(rule: dict[str, Any]) -> tuple[str, str, str]:
    return rule["family"], rule["table"], rule["chain"]


def _targets(rule: dict[str, Any]) -> set[tuple[str, str, str]]:
    verdicts = [one.get("jump") or one.get("goto") for one in rule["expr"] if isinstance(one, dict)]
    return {(rule["family"], rule["table"], one["target"]) for one in verdicts if one}


def _lasting(value: Any) -> Any:
    """Leave out what changes by itself: handles and counters."""
    if isinstance(value, dict):
        return {key: _lasting(one) for key, one in value.items() if key not in ("handle", "counter")}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


def pick(data: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of `data` under `keys`."""
    return {key: data[key] for key in keys if key in data}


def _ours(data: dict[str, Any], key: str) -> bool:
    return str(data.get(key, "")).startswith(DEVICES)


def _said(argv: Sequence[str]) -> Any:
    """Return what a program says, None if it can't."""
    try:
        return ask(argv)
    except OSError as error:
        sys.stderr.write(f"not looked at: {error}\n")
        return None


def ask(argv: Sequence[str]) -> Any:
    """Return what a program says, as JSON (nothing: an empty list); OSError if it is not installed, or fails."""
    command = " ".join(argv)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=of_children())
    except FileNotFoundError as error:
        raise OSError(f"{argv[0]}: not found on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command}: no answer within {TIMEOUT_S} s") from error
    if done.returncode:
        raise OSError(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
    try:
        return json.loads(done.stdout or "[]")
    except ValueError as error:
        raise OSError(f"{command} said no JSON: {error}") from error
