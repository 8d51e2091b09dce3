"""Whether the run counts, fact by fact: the load, its generator, the faults, the recording itself.

The verdict on it is the gate's (gates/validity.py); here are the numbers by which a reviewer can follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chaos.model import EventKind, Proof, Span
from gates.asked import load_asked, share_asked
from gates.traffic import inside, traffic
from gates.validity import Validity
from gates.wording import percent, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.recording import Recording
    from gates.judge import Judgement
    from reports.sections.faults import StepRows

LIMITS = Validity()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One number of the run, what it is compared with, and whether it is as it should be (None: nothing to compare)."""

    name: str
    value: str
    note: str
    good: bool | None


def problems(judgement: Judgement) -> list[str]:
    """Return every reason why the run does not count; empty if it does."""
    found = [verdict.numbers.get("problems", ()) for verdict in judgement.verdicts[:1]]
    return [str(problem) for problem in (found[0] if found else ())]


def facts(recording: Recording, steps: Sequence[StepRows]) -> list[Fact]:
    """Return the facts in the order in which a reviewer asks for them."""
    return [
        *_ending(recording),
        *_load(recording),
        *_generator(recording),
        *_faults(steps),
        *_noise(steps),
        *_versions(recording),
    ]


def _ending(recording: Recording) -> Iterator[Fact]:
    why = recording.why_incomplete
    yield Fact(name="Recording", value="cut short" if why else "complete", note="; ".join(why), good=not why)
    errors = [event.detail for event in recording.events if event.kind is EventKind.ERROR]
    yield Fact(name="Harness errors", value=str(len(errors)), note=errors[0] if errors else "", good=not errors)


def _load(recording: Recording) -> Iterator[Fact]:
    seen, asked = traffic(recording, Span.STEADY), load_asked(recording)
    rate = (asked.get("rate_per_s") or 0.0) * share_asked(recording, asked, Span.STEADY)
    if not seen.spans or not seen.seconds:
        yield Fact(name="Load in steady", value="none", note="the load never reached its hold", good=False)
        return
    offered = len(seen.outcome) / seen.seconds
    if asked.get("closed_loop") or not rate:
        note = "closed loop: as fast as answers come" if asked.get("closed_loop") else "the rate asked for is unknown"
        yield Fact(name="Load in steady", value=f"{offered:,.0f}/s", note=note, good=None)
    else:
        note = f"{percent(offered / rate)} of {rate:,.0f}/s asked"
        good = offered >= rate * LIMITS.offered_share_min
        yield Fact(name="Load in steady", value=f"{offered:,.0f}/s", note=note, good=good)
    good = seen.dropped <= seen.n * LIMITS.dropped_share_max
    total = traffic(recording, Span.RUN).dropped
    yield Fact(name="Dropped in steady", value=f"{seen.dropped:,}", note=f"{total:,} in the whole run", good=good)


def _generator(recording: Recording) -> Iterator[Fact]:
    loads = [event.data for event in recording.events if event.kind is EventKind.LOAD]
    times = np.array([data.get("at_ns", 0) for data in loads], dtype=np.int64)
    during = inside(times, recording.windows.select(Span.RUN))
    running = [data for data, yes in zip(loads, during, strict=True) if yes]
    if not running:
        yield Fact(name="Generator", value="silent", note="it said nothing of itself during the run", good=False)
        return
    cpu = np.array([data.get("cpu_share", 0.0) for data in running])
    calm = inside(times, recording.windows.select(Span.STEADY))
    steady = [data for data, yes in zip(loads, calm, strict=True) if yes] or running
    lag = np.array([data.get("lag_p99_s", 0.0) for data in steady])
    note = f"of a core, median; at most {percent(float(cpu.max()))}"
    good = float(np.median(cpu)) < LIMITS.cpu_share_max
    yield Fact(name="Generator CPU", value=percent(float(np.median(cpu))), note=note, good=good)
    note = f"p99 of a second in steady, median; at most {seconds(float(lag.max()))}"
    good = float(np.median(lag)) <= LIMITS.lag_max_s
    yield Fact(name="Sent late", value=seconds(float(np.median(lag))), note=note, good=good)


def _faults(steps: Sequence[StepRows]) -> Iterator[Fact]:
    rows = [row for step in steps for row in step.rows]
    if not rows:
        yield Fact(name="Faults", value="none", note="no fault was injected", good=None)
        return
    confirmed = sum(row.proof is Proof.CONFIRMED for row in rows)
    healed = sum(row.heal_proof is Proof.CONFIRMED for row in rows)
    watched, broken = sum(row.watched for row in rows), sum(row.watch_broken for row in rows)
    note = f"watched {watched} times while in force{f', {broken} times not as asked' if broken else ''}"
    good = confirmed == len(rows) and not broken
    yield Fact(name="Faults confirmed", value=f"{confirmed} of {len(rows)}", note=note, good=good)
    yield Fact(
        name="Heals proved", value=f"{healed} of {len(rows)}", note="measured to be gone", good=healed == len(rows)
    )


def _noise(steps: Sequence[StepRows]) -> Iterator[Fact]:
    """Tell what the spared paths moved by: that is the noise of all the other measurements."""
    spared = [one for step in steps for row in step.rows for one in row.spared if one.name.startswith("delay")]
    moved = [abs(float(one.got.split()[0])) for one in spared if one.got.endswith("ms")]
    if moved:
        note = f"most that one of {len(moved)} spared paths moved by"
        yield Fact(name="Noise floor", value=seconds(max(moved) / 1000), note=note, good=None)


def _versions(recording: Recording) -> Iterator[Fact]:
    told = [event for event in recording.events if event.kind is EventKind.VERSION]
    names = sorted({str(event.data.get("version")) for event in told})
    hashes = {str(event.data.get("sha256", ""))[:12] for event in told}
    note = f"{len(hashes)} different binaries told" if len(hashes) > 1 else "one binary everywhere, start and end"
    yield Fact(
        name="Versions", value=", ".join(names) or "untold", note=note if told else "", good=None if told else False
    )
