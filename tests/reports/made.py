"""Judged recordings for the report's tests: a violation in every gate, a crash loop, one cut short, nothing at all."""

from __future__ import annotations

from chaos.clock import ns
from chaos.model import Cut, NamedGate, Outcome
from chaos.recording import Recording
from chaos.testing import RecordingBuilder
from gates.acknowledged_writes import AcknowledgedWrites
from gates.errors import Errors
from gates.judge import judge
from gates.latency import Latency
from gates.ledger import Ledger
from gates.linearizable import Linearizable
from gates.recovery import Recovery
from gates.replicas_equal import ReplicasEqual
from gates.throughput import Throughput

GATES = {
    "linearizable": Linearizable(),
    "acknowledged-writes": AcknowledgedWrites(),
    "replicas-equal": ReplicasEqual(),
    "p99-under-fault": Latency(limit_s=0.1),
    "floor": Throughput(floor_per_s=50.0),
    "errors": Errors(limit_share=0.1),
    "recovery": Recovery(limit_s=5.0),
}
NAMED = tuple(NamedGate(name=name, gate=gate) for name, gate in GATES.items())
MS = ns(0.001)


def judged(recording, gates=NAMED):
    return recording, judge(recording, gates)


def violated(step="cut"):
    """Every invariant broken, under a partition: a stale read, a lost write, a replica that differs."""
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(5)
    with builder.fault(step, "etcd1", action=Cut(peers=("etcd2", "etcd3"))):
        builder.traffic(1)
        stale_read(builder)
        builder.clock.advance(0.2)
        builder.traffic(3, unknown_share=0.2, failed_share=0.1)
    builder.put_once()
    builder.put_once(read=None, revision=4711)
    builder.traffic(8)
    for number in range(3):
        builder.replicas(number, {"etcd1": 1.0, "etcd2": 2.0 if number else 1.0, "etcd3": 1.0})
    builder.reading("replica-bisect", "etcd2", 1001.0, text="etcd2 differs from revision 1001 on")
    return judged(builder.build())


def stale_read(builder):
    zero, key = builder.clock.now_ns(), "run/r/17"

    def did(op, client, start, end, **rest):
        builder.sample(op=op, client=client, key=key, call_ns=zero + start * MS, return_ns=zero + end * MS, **rest)

    did("put", 3, 0, 18, value="3-41")
    did("put", 7, 10, 60, value="7-9", outcome=Outcome.UNKNOWN)
    did("cas", 5, 33, 58, expect="3-41", value="5-12", swapped=True)
    did("get", 4, 80, 92, value="3-41")


def crash_loop(times=120):
    builder = RecordingBuilder(rate_per_s=50)
    builder.traffic(3)
    for number in range(times):
        with builder.fault("crash", f"etcd{number % 3 + 1}", occurrence=number):
            builder.traffic(0.1)
        builder.traffic(0.1)
    builder.traffic(3)
    return judged(builder.build())


def sound():
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(5)
    with builder.fault("kill", "etcd1"):
        builder.traffic(3)
    builder.put_once()
    builder.traffic(8)
    builder.replicas(1, {"etcd1": 1.0, "etcd2": 1.0, "etcd3": 1.0}, quiet=True)
    keep = ("acknowledged-writes", "replicas-equal", "recovery", "floor")
    return judged(builder.build(), [one for one in NAMED if one.name in keep])


def cut_short():
    builder = RecordingBuilder()
    builder.traffic(3)
    with builder.fault("kill", "etcd1"):
        builder.traffic(1)
        return judged(builder.build(complete=False))


def ended_in_set_up():
    return judged(RecordingBuilder(begin=False).build(complete=False))


def nothing():
    return judged(Recording.of(complete=False))


def doubled():
    """A job between two logs that lost a record and brought another one out twice."""
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(3)
    for number in range(200):
        builder.produce(number % 4)
    builder.topics.pipe()
    rows = builder.topics.rows["out"]
    lost, again = rows.pop(10), dict(rows[20])
    builder.topics.append("out", **{name: value for name, value in again.items() if name != "offset"})
    assert lost["key"] == 2
    return judged(builder.build(), [NamedGate(name="exactly-once", gate=Ledger(output="out"))])


ALL = {
    "doubled": doubled,
    "violated": violated,
    "crash_loop": crash_loop,
    "sound": sound,
    "cut_short": cut_short,
    "ended_in_set_up": ended_in_set_up,
    "nothing": nothing,
}
