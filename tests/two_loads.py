"""A run of two loads, made in memory: records are produced at 50/s, and another store is read at 200/s."""

from __future__ import annotations

from dataclasses import replace

from chaos.clock import NS
from chaos.model import Outcome
from chaos.recording import Recording
from chaos.streams import GeneratorEnd
from chaos.testing import RecordingBuilder

OWN = {"workload": "records", "rate_per_s": 50, "closed_loop": False, "processes": 1}
BESIDE = {"workload": "kv", "rate_per_s": 200, "closed_loop": False, "processes": 1}


def both(*, slow_kv_s=0.005, kv_rate=200.0, kv_there=True, kv_outcome=Outcome.OK):
    """Return the run; `kv_there` False: the second load's generator left nothing."""
    b = RecordingBuilder(rate_per_s=50)

    def second():
        kv = {"rate_per_s": kv_rate, "latency_s": slow_kv_s}
        for number in range(50):
            b.produce(number % 4)
            b.samples[-1]["generator"] = "records-0"
            b.clock.advance(0.02)
        since_ns = b.clock.now_ns() - NS
        for number in range(round(kv_rate)):
            at_ns = since_ns + number * NS // round(kv_rate)
            returned = at_ns + round(kv["latency_s"] * NS)
            b.sample(call_ns=at_ns, return_ns=returned, generator="kv-0", outcome=kv_outcome)
        b.load()
        told = b.events[-1].data
        parts = {"records": told, "kv": {**told, "offered_per_s": kv_rate}}
        b.events[-1] = replace(b.events[-1], data={**told, "parts": parts})

    for _ in range(4):
        second()
    with b.fault("kill", "etcd1"):
        second()
    for _ in range(3):
        second()
    b.topics.pipe(delay_ms=5)
    made = b.build()
    closed = GeneratorEnd(samples=1, final_reads_complete=True, wall_ns=1)
    ends = {"records-0": closed, **({"kv-0": closed} if kv_there else {})}
    return Recording.of(
        events=made.events,
        samples=made.samples,
        run={**made.run, "load": OWN, "beside": BESIDE},
        ends=ends,
        logs=made.logs,
        topics=made.parts.topics.values(),
    )
