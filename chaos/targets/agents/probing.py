"""From the paths of a step to the packets that measure them, and from what arrived to measurements. Pure.

Paths ─flows_of─▶ flows for the meter ─▶ got ─judge─▶ Measurement… by subject (and those of spared paths for all)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from chaos import fidelity, tolerances
from chaos.fidelity import Flow
from chaos.model import Measurement, NodeAction, Shape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chaos.targets.agents.paths import Hurt, Paths

Pair = tuple[str, str]
ALL_PER_S = 5000  # packets of all flows together: what one Python process sends and receives with room to spare
SMALL, LARGE = 100, 1000  # bytes; corruption is looked for in large ones, where payload outweighs headers
WATCH_PACKETS, WATCH_PER_S = 10, 20.0


class Bare(Protocol):
    """What is known of a path without faults."""

    def of(self, source: str, sink: str) -> Flow:
        """Return the last packets of that path."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Measurements of paths: `hurt` with those whose actions hurt them, `spared` for everybody."""

    hurt: tuple[tuple[frozenset[str], Measurement], ...]
    spared: tuple[Measurement, ...]

    def on(self, subject: str) -> list[Measurement]:
        """Return what was measured on the paths that a subject's actions hurt."""
        return [one for subjects, one in self.hurt if subject in subjects]

    def of(self, subject: str) -> list[Measurement]:
        """Return what concerns a subject."""
        return [*self.on(subject), *self.spared]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured for a step, and what it takes."""

    paths: Paths
    packets: int
    send_s: float
    tail_s: float

    @property
    def asked_ms(self) -> float:
        """The greatest delay asked for."""
        delays = [sum(one.delay_s for one in path.impairments) for path in self.paths.hurt]
        return 1e3 * max(delays, default=0.0)

    def without(self, absent: Collection[str]) -> Plan:
        """Leave out the paths of nodes that are there no more."""
        hurt = tuple(one for one in self.paths.hurt if not {one.source, one.sink} & set(absent))
        spared = tuple(pair for pair in self.paths.spared if not set(pair) & set(absent))
        return replace(self, paths=replace(self.paths, hurt=hurt, spared=spared))

    def judge(self, bare: Bare, got: Mapping[Pair, Flow], *, watch: bool = False) -> Judged:
        """Judge the step while it is in force; of a `watch`, the paths that it sends packets over."""
        hurt: list[tuple[frozenset[str], Measurement]] = []
        for path in self.paths.hurt:
            if watch and not _watched(path):
                continue
            flow = got.get(path.pair)
            found = _judge_hurt(path, bare.of(*path.pair), flow) if flow else (_absent(path.pair),)
            hurt += [(path.subjects, one) for one in found]
        return Judged(hurt=tuple(hurt), spared=self._judge_spared(bare, got))

    def judge_gone(self, bare: Bare, got: Mapping[Pair, Flow]) -> Judged:
        """Judge the step after its heal: the paths that it hurt must be as they were."""
        hurt: list[tuple[frozenset[str], Measurement]] = []
        for path in self.paths.hurt:
            flow, before = got.get(path.pair), bare.of(*path.pair)
            found = fidelity.judge_gone(path.impairments, before, flow) if flow else (_absent(path.pair),)
            hurt += [(path.subjects, one) for one in found]
        return Judged(hurt=tuple(hurt), spared=())

    def _judge_spared(self, bare: Bare, got: Mapping[Pair, Flow]) -> tuple[Measurement, ...]:
        found: list[Measurement] = []
        for pair in self.paths.spared:
            flow = got.get(pair)
            found += fidelity.judge_spared(bare.of(*pair), flow, self.asked_ms) if flow else [_absent(pair, "spared")]
        return tuple(found)


def plan(actions: Sequence[NodeAction], paths: Paths) -> Plan:
    """Decide how many packets a step takes, and how fast."""
    needs = [fidelity.needed(action) for action in actions]
    tails = [tolerances.tail_s(one.impairment) for one in actions if isinstance(one, Shape)]
    tail_s = max(tails, default=tolerances.TAIL_S)
    packets = max(need.packets for need in needs)
    send_s = max(need.seconds - tail_s for need in needs)
    flows = max(1, len(paths.hurt) + len(paths.spared))
    return Plan(paths=paths, packets=packets, send_s=max(send_s, packets * flows / ALL_PER_S), tail_s=tail_s)


def flows_of(plan: Plan, *, healed: bool = False) -> tuple[list[dict[str, Any]], float]:
    """Return the flows (chaos/agent/flow.py) of a confirmation, or of the proof that it is `healed`, and their tail."""
    per_s = plan.packets / plan.send_s
    flows: list[dict[str, Any]] = []
    for path in plan.paths.hurt:
        packets = _after_heal(plan.packets) if healed else plan.packets
        flows.append(_flow(path.source, path.sink, packets, per_s, corrupts=_corrupts(path)))
        flows += _trains(path)
    if not healed:
        spared = min(plan.packets, 2 * tolerances.TOLERANCES["spared"].packets)
        flows += [_flow(*pair, spared, min(per_s, spared / plan.send_s)) for pair in plan.paths.spared]
    return flows, tolerances.TAIL_S if healed else plan.tail_s


def watch_flows(plan: Plan) -> tuple[list[dict[str, Any]], float]:
    """Return the few packets of one round of the low-rate watch."""
    hurt = [
        _flow(p.source, p.sink, WATCH_PACKETS, WATCH_PER_S, corrupts=_corrupts(p))
        for p in plan.paths.hurt
        if _watched(p)
    ]
    return hurt + [_flow(*pair, WATCH_PACKETS, WATCH_PER_S) for pair in plan.paths.spared], plan.tail_s


def baseline_flows(pairs: Sequence[Pair], packets: int, per_s: float) -> list[dict[str, Any]]:
    """Return the flows that learn what these paths are like without faults."""
    return [_flow(*pair, packets, min(per_s, ALL_PER_S / 2 / max(1, len(pairs)))) for pair in pairs]


def read_flows(answer: Mapping[str, Any]) -> dict[Pair, Flow]:
    """Read the meter's answer; the trains of a path are put to its other packets."""
    found: dict[Pair, Flow] = {}
    for data in answer["flows"]:
        flow = Flow.read(data)
        pair = flow.source, flow.sink
        found[pair] = replace(found[pair], train_bit_s=flow.train_bit_s) if pair in found else flow
    return found


def _judge_hurt(path: Hurt, bare: Flow, got: Flow) -> tuple[Measurement, ...]:
    if path.cut and not path.dark and bare.sent and not bare.received:
        why = "nothing came through before, either"
        return (fidelity.check(f"packets {path.source}→{path.sink} before", holds=None, why=why),)
    if path.cut:
        return (fidelity.judge_cut(got, dark=path.dark),)
    return fidelity.judge_shaped(path.impairments, bare, got)


def _absent(pair: Pair, path: str = "hurt") -> Measurement:
    """Say of a path that was to be measured that the meter told nothing of it."""
    return fidelity.check(f"packets {pair[0]}→{pair[1]}", holds=None, why="the meter told nothing of them", path=path)


def _watched(path: Hurt) -> bool:
    """Tell whether a few packets say anything: of a rate limit they do not, and they stand in its queue."""
    return not any(one.rate_bit_s for one in path.impairments)


def _after_heal(packets: int) -> int:
    """Half of what tells a share from its half also tells half of it from nothing."""
    return max(tolerances.TOLERANCES["spared"].packets, packets // 2)


def _corrupts(path: Hurt) -> bool:
    return any(one.corrupt for one in path.impairments)


def _trains(path: Hurt) -> list[dict[str, Any]]:
    rates = [one.rate_bit_s for one in path.impairments if one.rate_bit_s is not None]
    if not rates or path.cut or min(rates) > tolerances.HIGHEST_RATE_BIT_S:
        return []
    train = tolerances.train_for(min(rates))
    return [
        {
            "source": path.source,
            "sink": path.sink,
            "packets": train.trains * train.length,
            "per_s": train.per_s,
            "size": train.size,
            "train": train.length,
        }
    ]


def _flow(source: str, sink: str, packets: int, per_s: float, *, corrupts: bool = False) -> dict[str, Any]:
    size = LARGE if corrupts else SMALL
    return {
        "source": source,
        "sink": sink,
        "packets": packets,
        "per_s": per_s,
        "size": size,
        "unchecked": corrupts,
    }
