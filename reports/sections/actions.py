"""A fault's actions in words: {"kind": "shape", …} → "delay 100 ms ± 20 ms on what it receives from etcd2"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.units import format_bit_rate
from gates.wording import percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HEARING = {"in": "hears nothing from", "out": "is not heard by", "both": "cut off from"}
SHAPED = {"in": "on what it receives", "out": "on what it sends", "both": "both ways"}


def described(actions: Sequence[Mapping[str, Any]]) -> str:
    """Return what was asked for; actions that read alike, or but for their peers, are said once."""
    said = dict.fromkeys(_described(action) for action in actions)
    alike = dict.fromkeys(_described({**action, "peers": ("its peers",)}) for action in actions)
    return "; ".join(alike if len(said) > len(alike) == 1 else said) or "nothing was done"


def _described(action: Mapping[str, Any]) -> str:
    kind = str(action.get("kind", ""))
    return WORDS[kind](action) if kind in WORDS else kind


def _signal(action: Mapping[str, Any]) -> str:
    return f"SIG{action.get('signal', '')} to {action.get('process') or 'every process of the stack'}"


def _cut(action: Mapping[str, Any]) -> str:
    return f"{HEARING.get(action.get('direction', 'both'), 'cut off from')} {_peers(action)}"


def _shape(action: Mapping[str, Any]) -> str:
    what = ", ".join(_impairments(action.get("impairment", {}))) or "shaped"
    whom = f" (with {_peers(action)})" if action.get("peers") else ""
    return f"{what} {SHAPED.get(action.get('direction', 'both'), '')}{whom}"


def _disk(action: Mapping[str, Any]) -> str:
    what = [f"{seconds(action['delay_s'])} later"] if action.get("delay_s") else []
    what += [f"fail with {action['error']}"] if action.get("error") else []
    share = f"{percent(action['share'])} of " if action.get("share", 1) < 1 else ""
    return f"disk: {share}{', '.join(action.get('ops', ()))}: {', '.join(what)}"


def _stack(action: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name} {value}" for name, value in action.get("arguments", {}).items())
    return f"{action.get('operation', 'operation')} by the stack{f' ({arguments})' if arguments else ''}"


def _peers(action: Mapping[str, Any]) -> str:
    return ", ".join(action.get("peers", ())) or "everybody"


def _impairments(shape: Mapping[str, Any]) -> Iterator[str]:
    if shape.get("delay_s") or shape.get("jitter_s"):
        jitter = f" ± {seconds(shape['jitter_s'])} {shape.get('distribution', '')}" if shape.get("jitter_s") else ""
        yield f"delay {seconds(shape.get('delay_s', 0.0))}{jitter}".rstrip()
    for name in ("loss", "duplicate", "reorder", "corrupt"):
        if shape.get(name):
            yield f"{name} {percent(shape[name])}"
    if burst := shape.get("burst"):
        yield f"loss in bursts (enter {percent(burst['enter'])}, leave {percent(burst['leave'])})"
    if shape.get("rate_bit_s"):
        yield f"at most {format_bit_rate(shape['rate_bit_s'])}"


WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "signal": _signal,
    "cut": _cut,
    "shape": _shape,
    "stack": _stack,
    "clock": lambda action: f"wall clock {action.get('offset_s', 0.0):+g} s",
    "disk": _disk,
    "cpu": lambda action: f"at most {action.get('cores', 0):g} cores of CPU time",
    "freeze": lambda _: "whole node frozen",
    "power": lambda action: (
        "power lost: link down, then every process" + ", and what was not synced" * bool(action.get("unsynced_lost"))
    ),
}
