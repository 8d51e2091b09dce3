"""What processes, ports and links say of a fault that is not about packets. Pure.

    kill    ended by signal 9, port refused            healed: runs again, a new start
    stop    state T, no CPU time, port silent          healed: runs on, the same start
    freeze  cgroup frozen or state T, port silent      healed: the same
    cpu     the quota is set, held the node back    healed: the quota that was, and held back no more
    clock   read from inside, ahead as asked        healed: ahead as before
    disk    the rule is held, trials are slow or fail   healed: no rule, trials as before
    power   port down, no carrier, init gone           healed: all of it back, processes started again

`undo` is what the agent remembered before the fault, `first` and `second` two looks (chaos/agent/actions), and
`ports` the connections tried in between.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.fidelity import check
from chaos.model import CpuQuota, Cut, Freeze, Measurement, Proof, Shape, Signal
from chaos.targets.agents import disksigns as disk
from chaos.tolerances import HIGH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.model import NodeAction

    Look = Mapping[str, Any]

STOPPED = ("T", "t")
CLOCK_NEAR_S = 0.25  # of what was asked: starting a process and asking it takes a part of that
PERIOD_NS, TICK_NS = 100_000_000, 10_000_000  # of a quota, and of what /proc tells of CPU time


def in_force(
    action: NodeAction, undo: Look, first: Look, second: Look, ports: Sequence[Look]
) -> tuple[Measurement, ...]:
    """Judge whether the fault is there now."""
    if second.get("gone"):
        return (check(f"pod {undo['subject']} is there", holds=False, why="it is gone, and the fault with it"),)
    if isinstance(action, Signal) and action.signal == "KILL":
        return *_ended(undo, second), *_ports(ports, ("refused",), "refuses connections")
    if isinstance(action, Signal | Freeze):
        return *_halted(undo, first, second), *_ports(ports, ("accepted", "no connection"), "does not answer")
    if isinstance(action, Shape | Cut):
        return _shaper(second)
    judged: Mapping[str, Callable[[Any], tuple[Measurement, ...]]] = {
        "power": lambda _: _without_power(undo, second),
        "cpu": lambda asked: _held_back(asked, undo, first, second),
        "disk": lambda asked: disk.in_force(asked, undo, first, second),
        "clock": lambda asked: _clock(undo, second, asked.offset_s),
    }
    return judged[action.kind](action)


def gone(action: NodeAction, undo: Look, second: Look) -> tuple[Measurement, ...]:
    """Judge whether the node is as it was before the fault."""
    if second.get("gone"):
        return (check(f"pod {undo['subject']} is gone, and what was done to it", holds=True),)
    killed = isinstance(action, Signal) and action.signal == "KILL"
    judged: Mapping[str, Callable[[Any], tuple[Measurement, ...]]] = {
        "power": lambda _: _powered(undo, second),
        "clock": lambda _: _clock(undo, second, float(undo["before"])),
        "disk": lambda asked: disk.gone(asked, undo, second),
        "cpu": lambda _: _unlimited(undo, second),
        "signal": lambda _: _running(undo, second, started_again=killed),
        "freeze": lambda _: _running(undo, second, started_again=False),
    }
    return judged[action.kind](action) if action.kind in judged else ()


def without_packets(action: NodeAction, hurt: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Put a shape or cut in doubt whose paths nobody measured: a rule that is held is no effect."""
    if not isinstance(action, Shape | Cut) or hurt:
        return ()
    return (check("packets measured", holds=None, why="no path that it hurts was measured"),)


def ended_ns(second: Look) -> int | None:
    """Return when the last process of a look ended; None if none has."""
    return max((p["ended_ns"] for p in second.get("processes", ()) if p["ended_ns"]), default=None)


def started_ns(undo: Look, second: Look) -> int | None:
    """Return when the last of the processes that the fault hit was started again."""
    hit = {p["name"] for p in undo["processes"]}
    return max((p["started_ns"] for p in second["processes"] if p["name"] in hit), default=None)


def _shaper(second: Look) -> tuple[Measurement, ...]:
    if not second["shaper"].get("alive"):
        return (check("shaper", holds=False, why="the shaper is dead: the kernel's own path is back"),)
    held = bool(second["held"])
    return (check("shaper", holds=held, why="" if held else "the shaper holds no rule of this action"),)


def _ended(undo: Look, second: Look) -> list[Measurement]:
    rows = {p["name"]: p for p in second["processes"]}
    return [_ended_by_kill(p, rows.get(p["name"])) for p in undo["processes"]]


def _ended_by_kill(before: Look, now: Look | None) -> Measurement:
    name = f"{before['name']} ended by SIGKILL"
    if now is None:
        return check(name, holds=None, why="the node's init does not list it any more")
    if (last := now.get("last")) and last["starts"] == before["starts"]:  # where others start it again: seen to end
        return check(name, holds=last["exit_code"] == -9, why="" if last["exit_code"] == -9 else "it ended otherwise")
    if now["exit_code"] is None:
        return check(name, holds=False, why=f"it runs, pid {now['pid']}, start {now['starts']}")
    return check(name, holds=now["exit_code"] == -9, why="" if now["exit_code"] == -9 else f"exit {now['exit_code']}")


def _halted(undo: Look, first: Look, second: Look) -> list[Measurement]:
    before = {p["name"]: p for p in first["processes"]}
    now = {p["name"]: p for p in second["processes"]}
    frozen = bool(second.get("frozen"))
    return [_halted_one(p, before.get(p["name"]), now.get(p["name"]), frozen=frozen) for p in undo["processes"]]


def _halted_one(process: Look, before: Look | None, now: Look | None, *, frozen: bool) -> Measurement:
    name = f"{process['name']} stands still"
    if before is None or now is None or before["stat"] is None or now["stat"] is None:
        return check(name, holds=False, why="it is gone")
    state, used_ns = now["stat"]["state"], now["stat"]["cpu_ns"] - before["stat"]["cpu_ns"]
    if state not in STOPPED and not frozen:
        return check(name, holds=False, why=f"its state is {state}, and no freezer holds it")
    return check(name, holds=used_ns == 0, why=f"it used {used_ns / 1e6:.0f} ms of CPU time" if used_ns else "")


def _running(undo: Look, second: Look, *, started_again: bool) -> tuple[Measurement, ...]:
    now = {p["name"]: p for p in second["processes"]}
    return tuple(_running_one(p, now.get(p["name"]), started_again=started_again) for p in undo["processes"])


def _running_one(before: Look, now: Look | None, *, started_again: bool) -> Measurement:
    name = f"{before['name']} runs{' again' if started_again else ' on'}"
    if now is None or now["stat"] is None or now.get("exit_code") is not None:
        return check(name, holds=False, why="it does not run")
    if now["stat"]["state"] in STOPPED:
        return check(name, holds=False, why="it is still stopped")
    same = now["starts"] == before["starts"]
    if not same and not started_again and "last" in now:  # who waits for its answers has lost patience
        return check(f"{before['name']} runs, started anew by its kubelet", holds=True)
    if same == started_again:
        why = "it was not started again" if started_again else "it was started anew, not let go on"
        return check(name, holds=False, why=why)
    return check(name, holds=True)


def _held_back(action: CpuQuota, undo: Look, first: Look, second: Look) -> tuple[Measurement, ...]:
    """Judge a quota: it is set, the node got no more, and it wanted more."""
    node, asked, granted = undo["subject"], action.cores, second["cores"]
    periods = second["throttled"] - first["throttled"]
    set_ = granted is not None and math.isclose(granted, asked, rel_tol=0.01)
    held = None if periods == 0 else periods > 0
    return (
        check(f"quota of {node}", holds=set_, why="" if set_ else f"it is {second['quota']!r}"),
        _used(node, asked, first, second),
        check(
            f"{node} was held back", holds=held, why="" if held else "it wanted no more than it may have; give it less"
        ),
    )


def _used(node: str, asked: float, first: Look, second: Look) -> Measurement:
    """Judge the CPU time between two looks; what began in one period may be used in the next, and a tick is 10 ms."""
    before = {p["name"]: p["stat"] for p in first["processes"]}
    both = [(before.get(p["name"]), p["stat"]) for p in second["processes"]]
    used_ns = sum(now["cpu_ns"] - then["cpu_ns"] for then, now in both if then and now)
    span_ns = second["at_ns"] - first["at_ns"]
    result = Measurement(name=f"CPU time of {node}", unit="cores", asked=asked, got=None)
    if span_ns <= 0:
        return replace(result, why="the two looks were at one time")
    got, most = used_ns / span_ns, asked + (PERIOD_NS * asked + len(both) * TICK_NS) / span_ns
    result = replace(result, got=got, n=1)
    if got > HIGH * most:
        return replace(result, proof=Proof.MISMATCH, why=f"at most {most:.3g} cores would fit")
    return replace(result, proof=Proof.CONFIRMED)


def _unlimited(undo: Look, second: Look) -> tuple[Measurement, ...]:
    back = second["quota"] == undo["before"]
    why = "" if back else f"it is {second['quota']!r}, and was {undo['before']!r}"
    return (check(f"quota of {undo['subject']} as before", holds=back, why=why),)


def _powered(undo: Look, second: Look) -> tuple[Measurement, ...]:
    up = bool(second["node_up"] and second["port_up"] and second["carrier"])
    powered = check(f"power of {undo['subject']}", holds=up, why="" if up else _power_text(second))
    return powered, *_forgot(undo, second, off=False), *_running(undo, second, started_again=True)


def _without_power(undo: Look, second: Look) -> tuple[Measurement, ...]:
    left = [p["name"] for p in second["processes"] if p["stat"] is not None] if not second["node_up"] else ["its init"]
    dark = not second["port_up"] and not second["carrier"]
    return (
        *_forgot(undo, second, off=True),
        check(f"link of {undo['subject']} without carrier", holds=dark, why="" if dark else _power_text(second)),
        check(
            f"nothing runs on {undo['subject']}", holds=not left, why=f"still there: {', '.join(left)}" if left else ""
        ),
    )


def _clock(undo: Look, second: Look, asked_s: float) -> tuple[Measurement, ...]:
    """Judge a node's wall clock: a process of ours reads it, and so do the node's own."""
    got = second["offset_s"]
    near = abs(got - asked_s) <= CLOCK_NEAR_S
    offset = Measurement(
        name=f"wall clock of {undo['subject']} ahead",
        unit="s",
        asked=asked_s,
        got=got,
        n=1,
        proof=Proof.CONFIRMED if near else Proof.MISMATCH,
        why="" if near else f"within {CLOCK_NEAR_S} s would fit",
    )
    rows = [p for p in second["processes"] if p.get("exit_code") is None and p["stat"] is not None]
    blind = [p["name"] for p in rows if not p["reads"]]
    why = f"{', '.join(blind)}: without libfaketime" if blind else ""
    return offset, check(f"processes of {undo['subject']} read it", holds=not blind if rows else None, why=why)


def _forgot(undo: Look, second: Look, *, off: bool) -> list[Measurement]:
    """Judge a disk that was to lose what was not synced: it did, and takes writes again only when the power is back."""
    if not undo.get("disk"):
        return []
    state = second["disk"]
    name = f"the disk of {undo['subject']} {'lost what was not synced' if off else 'works again'}"
    return [check(name, holds=state["dark"] == off, why="" if state["dark"] == off else "it takes writes" * off)]


def _power_text(second: Look) -> str:
    return f"node up: {second['node_up']}, port up: {second['port_up']}, carrier: {second['carrier']}"


def _ports(ports: Sequence[Look], wanted: tuple[str, ...], text: str) -> list[Measurement]:
    return [
        check(
            f"port {p['port']} {text}", holds=p["outcome"] in wanted, why="" if p["outcome"] in wanted else p["outcome"]
        )
        for p in ports
    ]
