"""Kafka looked at: what each broker says of itself, and where partitions are led, replicated and stable.

    every broker's view ──▶ up, controller; quorum
    the active controller's view of topics ──▶ leader-of, in-sync
    each leader: high watermark, last stable offset ──▶ last-stable-lag

A broker that does not answer is a Reading without a value, never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import MonotonicClock
from chaos.model import Reading
from chaos.stacks.kafka import roles
from chaos.stacks.kafka.client import Brokers, end_offsets, views
from chaos.stacks.kafka.ready import READY_TOPIC
from chaos.stacks.kafka.settings import node_id
from chaos.stacks.kafka.wire import KafkaError, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.ports import Clock
    from chaos.stacks.crew import Lab
    from chaos.stacks.kafka.client import Partition, View
    from chaos.stacks.kafka.stack import KafkaStack

NOBODY_SAYS = "no controller is active"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusProbe:
    """What each broker says of itself, and the active controller of partitions.

    Readings: "up" 1 for a broker that answers and None for one that does not; "controller" 1 or 0 (is it the active
    one?); one "quorum" without a node, 1 if most take one controller for the active one, else 0. Of each partition of
    a topic that is not internal, text "topic/number": "leader-of" 1 or 0 for each broker. Of each topic, text "topic",
    without a node: "in-sync", the least number of replicas that are in sync over its partitions.
    """

    brokers: Brokers
    clock: Clock = field(default_factory=MonotonicClock)

    @classmethod
    def of(cls, stack: KafkaStack, target: Lab) -> StatusProbe:
        """Return the probe of a stack on a target, started or not."""
        return cls(brokers=stack.brokers_on(target), clock=stack.clock)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Ask all brokers at once."""
        answers = self.brokers.look(timeout_s)
        now, seen = self.clock.now_ns(), views(answers)
        held = float(roles.has_quorum(seen, len(answers)))
        return [
            Reading(name="quorum", node="", at_ns=now, value=held),
            *_of_brokers(answers, roles.active(seen), now),
            *_of_partitions(seen, tuple(answers), now),
        ]


def _of_brokers(answers: Mapping[str, View | KafkaError], active: str | None, at_ns: int) -> Iterator[Reading]:
    for node, answer in answers.items():
        values = {"up": 1.0, "controller": float(node == active)}
        for name, value in values.items():
            if isinstance(answer, KafkaError):
                yield Reading(name=name, node=node, at_ns=at_ns, value=None, why=str(answer))
            else:
                yield Reading(name=name, node=node, at_ns=at_ns, value=value)


def _of_partitions(seen: Mapping[str, View], nodes: Sequence[str], at_ns: int) -> Iterator[Reading]:
    if roles.active(seen) is None:
        yield from (Reading(name="leader-of", node=n, at_ns=at_ns, value=None, why=NOBODY_SAYS) for n in nodes)
        yield Reading(name="in-sync", node="", at_ns=at_ns, value=None, why=NOBODY_SAYS)
        return
    in_sync: dict[str, int] = {}
    for topic, partition in _watched(seen):
        in_sync[topic] = min(len(partition.in_sync), in_sync.get(topic, len(partition.in_sync)))
        text = f"{topic}/{partition.index}"
        for node in nodes:
            leads = float(partition.leader == node_id(node))
            yield Reading(name="leader-of", node=node, at_ns=at_ns, value=leads, text=text)
    for topic, count in in_sync.items():
        yield Reading(name="in-sync", node="", at_ns=at_ns, value=float(count), text=topic)


def _watched(seen: Mapping[str, View]) -> Iterator[tuple[str, Partition]]:
    return ((topic, partition) for topic, partition in roles.led(seen) if topic != READY_TOPIC)


# ---------------------------------------------------------------- transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class StableProbe:
    """How far readers of committed records are held up by open transactions.

    One "last-stable-lag" reading a partition of a topic that is not internal, text "topic/number", node its leader:
    high watermark minus last stable offset, in records. None where nobody leads or the leader does not answer.
    """

    brokers: Brokers
    clock: Clock = field(default_factory=MonotonicClock)

    @classmethod
    def of(cls, stack: KafkaStack, target: Lab) -> StableProbe:
        """Return the probe of a stack on a target, started or not."""
        return cls(brokers=stack.brokers_on(target), clock=stack.clock)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Ask who leads what, then every leader."""
        seen = views(self.brokers.look(timeout_s / 2))
        led: dict[str, dict[str, list[int]]] = {}
        for topic, partition in _watched(seen):
            node = f"kafka{partition.leader}" if partition.leader >= 0 else ""
            led.setdefault(node, {}).setdefault(topic, []).append(partition.index)
        if not led:
            at_ns = self.clock.now_ns()
            return [Reading(name="last-stable-lag", node="", at_ns=at_ns, value=None, why=NOBODY_SAYS)]
        leaders = [node for node in led if node in self.brokers.endpoints]
        ask = partial(self._lags, led=led, timeout_s=timeout_s / 2)
        answers = self.brokers.ask(ask, timeout_s / 2, leaders) if leaders else {}
        return list(_of_leaders(led, answers, self.clock.now_ns()))

    def _lags(
        self, node: str, led: Mapping[str, Mapping[str, Sequence[int]]], timeout_s: float
    ) -> dict[tuple[str, int], int]:
        """Return the lag of what a broker leads; the stable offset is asked for first, so that no lag is negative."""

        def both(wire: Wire) -> dict[tuple[str, int], int]:
            stable = end_offsets(wire, led[node], stable=True)
            high = end_offsets(wire, led[node], stable=False)
            return {where: high[where] - stable[where] for where in high if where in stable}

        return self.brokers.ask_one(node, both, timeout_s)


def _of_leaders(
    led: Mapping[str, Mapping[str, Sequence[int]]],
    answers: Mapping[str, Mapping[tuple[str, int], int] | KafkaError],
    at_ns: int,
) -> Iterator[Reading]:
    for node, topics in led.items():
        answer = answers.get(node, KafkaError("nobody leads it"))
        for topic, numbers in topics.items():
            for number in numbers:
                text = f"{topic}/{number}"
                lag = None if isinstance(answer, KafkaError) else answer.get((topic, number))
                why = str(answer) if isinstance(answer, KafkaError) else "" if lag is not None else "it leads no more"
                value = None if lag is None else float(lag)
                yield Reading(name="last-stable-lag", node=node, at_ns=at_ns, value=value, why=why, text=text)
