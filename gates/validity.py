"""Whether a run counts at all: silence is never success.

    came to its end ─ version as asked, start and end ─ load honest, reached its floor, generator not saturated ─
    every fault confirmed and watched ─ every heal proved ─ no trouble of the harness ─ samples in every window used

Each question is one function: recording → sentences, none if all is well. A run that does not count judges nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS
from chaos.errors import ChaosgateError
from chaos.model import EventKind, Outcome, Proof, Span, Status, Verdict
from chaos.units import counted
from chaos.windows import covered, last_evidence, subject
from gates.asked import load_asked, share_asked
from gates.traffic import dropped, inside, traffic
from gates.wording import at, listed, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from chaos.model import Event
    from chaos.recording import Recording

SHOWN = 5  # sentences in the summary; all of them are in the numbers
CHANCE = 3.0  # standard deviations by which Poisson arrivals of a short window may fall behind
SLICE_NS = 10 * NS  # of a closed loop: something succeeds in each, though a member is killed every three seconds
WORKS = "running"  # a probe's reading of a node: 1 while it runs a task of the job
FRESH_NS = 3 * NS  # older ones do not tell who had work when a fault came
SERVED_MIN = 100  # operations of a closed loop
INTERRUPTED = "the run was interrupted"
BUSY = "; the machine is busy: run alone, or lower the rate"
EARLY = ("set-up", "load", "warm-up")  # phases before t = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Implied in every experiment. `spans` are the windows that its gates look at."""

    spans: tuple[Span, ...] = ()
    offered_share_min: float = 0.95  # of the asked rate, in the steady window and in recovery
    cpu_share_max: float = 0.9  # of a core; Locust itself warns from here on
    lag_max_s: float = 0.05  # p99 of sending late, in the steady window
    dropped_share_max: float = 0.001  # of the arrivals of the steady window

    def judge(self, recording: Recording) -> Verdict:
        """Return PASS, or INCONCLUSIVE with every reason."""
        interruption = _interruption(recording)
        problems = [
            *(interruption or recording.why_incomplete),
            *harness_troubles(recording),
            *_versions(recording.events, followed=not interruption),
            *_without_its_second(recording),
            *_of_each(_sabotaged if interruption else self._load, recording),
            *(_disproved(recording) if interruption else _faults(recording)),
            *heal_failures(recording),
            *_unproved_heals(recording),
            *(() if interruption else _of_each(self._windows, recording)),
        ]
        if problems:
            return Verdict(
                status=Status.INCONCLUSIVE, summary=listed(problems, SHOWN, "; "), numbers={"problems": problems}
            )
        return Verdict(status=Status.PASS, summary=_praise(recording), numbers={"problems": []})

    def _load(self, recording: Recording) -> Iterator[str]:
        load = load_asked(recording)
        yield from _sabotaged(recording)
        if not len(traffic(recording, Span.RUN).outcome):
            yield "no operation was recorded while the run went on"
        if (there := len(recording.ends)) < load.get("processes", 0):
            yield f"{there} of {load['processes']} generators left a recording of what they did"
        if not recording.windows.select(Span.RUN):
            return
        told = [e.data for e in recording.events if e.kind is EventKind.LOAD]
        if not _told_in(told, recording, Span.RUN):
            yield "the generator said nothing of itself while the run went on"
        if load.get("closed_loop"):
            yield from _served(recording)
            return
        yield from self._offered(recording, load)
        yield from self._saturation(recording, told)

    def _offered(self, recording: Recording, load: Mapping[str, Any]) -> Iterator[str]:
        """Compare what was offered with what was asked for, wherever no fault is in force."""
        if load.get("rate_per_s") is None:
            yield "the recording does not say which rate was asked for"
            return
        asked = load["rate_per_s"] * share_asked(recording, load, Span.STEADY)
        steady, after = traffic(recording, Span.STEADY), traffic(recording, Span.RECOVERY)
        if steady.seconds and (offered := len(steady.outcome) / steady.seconds) < asked * self.offered_share_min:
            yield f"the load did not reach its floor: {offered:,.0f}/s offered in steady, {asked:,.0f}/s asked{BUSY}"
        if steady.seconds and len(steady.outcome) and not steady.count(Outcome.OK):
            yield "no operation succeeded in steady, before anything was broken"
        if steady.dropped > steady.n * self.dropped_share_max:
            yield f"{steady.dropped:,} arrivals of the steady window found no free user; raise users, or lower the rate"
        came = len(after.outcome) + dropped(recording, Span.RECOVERY, shared=True)
        asked = load["rate_per_s"] * share_asked(recording, load, Span.RECOVERY)
        due = asked * after.seconds
        if came < due * self.offered_share_min - CHANCE * due**0.5:
            offered = came / after.seconds
            yield f"the load did not come back to its floor: {offered:,.0f}/s offered in recovery, {asked:,.0f}/s asked"

    def _saturation(self, recording: Recording, told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        running = _told_in(told, recording, Span.RUN)
        cpu = float(np.median([data.get("cpu_share", 0.0) for data in running])) if running else 0.0
        if cpu >= self.cpu_share_max:
            yield f"the generator was saturated: {percent(cpu)} of a core; give the load more processes"
        # Steady only: after a fault users wait for slow answers, and latency, from the intended time, counts that.
        lags = [data.get("lag_p99_s", 0.0) for data in _told_in(told, recording, Span.STEADY)]
        lag_s = float(np.median(lags)) if lags else 0.0
        if lag_s > self.lag_max_s:
            yield f"the generator sent late: p99 {seconds(lag_s)} in steady, at most {seconds(self.lag_max_s)}{BUSY}"

    def _windows(self, recording: Recording) -> Iterator[str]:
        for span in self.spans:
            windows = recording.windows.select(span)
            if windows and not len(traffic(recording, span).outcome):
                yield f"no operation was recorded during {span}, which a gate looks at"


def _without_its_second(recording: Recording) -> Iterator[str]:
    """Say of a run whose experiment has two loads that it was one of one."""
    try:
        beside = recording.experiment.beside
    except ChaosgateError:
        return
    if beside is not None and beside.workload not in recording.loads:
        yield f"the experiment has a second load, {beside.workload}, and the recording has none"


def _of_each(problems: Callable[[Recording], Iterable[str]], recording: Recording) -> Iterator[str]:
    """Yield the problems of each load of the run; which load, where there are two."""
    for workload, one in recording.loads.items():
        name = f"{workload}: " if len(recording.loads) > 1 else ""
        yield from (f"{name}{problem}" for problem in problems(one))


def _sabotaged(recording: Recording) -> Iterator[str]:
    """Say of a load that lies on purpose how it does: it makes a sound product look broken, and a broken one sound."""
    if how := (load_asked(recording).get("settings") or {}).get("sabotage"):
        yield f"the load is sabotaged: {how}; to judge a release, take `sabotage` out of the load"


def _told_in(told: Sequence[Mapping[str, Any]], recording: Recording, span: Span) -> list[Mapping[str, Any]]:
    """Return what the generator said in a span; of recovery only what speaks of no moment before it."""
    spans = recording.windows.select(span)
    times = np.array([data.get("at_ns", 0) for data in told], dtype=np.int64)
    chosen = inside(times, spans)
    if span is Span.RECOVERY:
        chosen &= inside(times - NS, spans)
    return [data for data, yes in zip(told, chosen, strict=True) if yes]


def _served(recording: Recording) -> Iterator[str]:
    """Say where a load without a rate of its own was not served at all: nothing else shows that there was one."""
    return_ns, outcome = recording.columns("return_ns", "outcome")
    start, end = recording.windows.select(Span.RUN)[0]
    edges = [*(start + n * SLICE_NS for n in range(max(1, (end - start) // SLICE_NS))), end]
    counts = np.diff(np.searchsorted(np.sort(return_ns[outcome == Outcome.OK]), edges))
    if (ok := int(counts.sum())) < SERVED_MIN:
        yield f"{ok} operations succeeded while the run went on; at least {SERVED_MIN} are needed"
    if silent := [at(recording, edges[place]) for place in np.flatnonzero(counts == 0)]:
        yield f"no operation succeeded for {seconds(SLICE_NS / NS)} from {listed(silent)} on"


def _interruption(recording: Recording) -> list[str]:
    """Say first of an interrupted run who ended it and when, of which all that it lacks is the consequence.

    Empty for any other run. What is torn or missing of the recording itself is said all the same.
    """
    if INTERRUPTED not in recording.why_incomplete:
        return []
    told = next(
        (e for e in recording.events if e.kind is EventKind.NOTE and e.detail.startswith("interrupted by")), None
    )
    others = [why for why in recording.why_incomplete if why != INTERRUPTED]
    if told is None:
        return [INTERRUPTED, *others]
    before = recording.events[: recording.events.index(told)]
    phases = [event for event in before if event.kind is EventKind.PHASE]
    early = bool(phases) and phases[-1].detail in EARLY
    when = f"during {phases[-1].detail}" if early else f"at {at(recording, told.at_ns)}"
    return [f"{INTERRUPTED.removesuffix('interrupted')}{told.detail.partition(';')[0]} {when}", *others]


def harness_troubles(recording: Recording) -> Iterator[str]:
    """Errors of the harness, each as a sentence."""
    for event in recording.events:
        if event.kind is EventKind.ERROR:
            yield f"the harness broke down at {at(recording, event.at_ns)}: {event.detail}"


def heal_failures(recording: Recording) -> Iterator[str]:
    """Faults that are still there: a heal that failed, was seen not to work, or was never answered."""
    for inject, told in _occurrences(recording.events):
        if _operation(inject):
            continue
        heals = last_evidence(told, EventKind.HEAL, "heal")
        for event in heals.values():
            failed = event.data["proof"] == Proof.INCONCLUSIVE and not subject(event)
            if failed or event.data["proof"] == Proof.MISMATCH:
                yield f"{_name(inject)} was not healed: {event.detail or event.data.get('detail', '')}"
        if not heals and _ended(recording):
            yield f"{_name(inject)} was not healed: nothing proves that it is gone"


def _unproved_heals(recording: Recording) -> Iterator[str]:
    for inject, told in _occurrences(recording.events):
        heals = last_evidence(told, EventKind.HEAL, "heal")
        vague = [name for name, e in heals.items() if name and e.data["proof"] == Proof.INCONCLUSIVE]
        if vague:
            yield f"the heal of {_name(inject)} is not proved on {listed(vague)}"
        elif heals and not _operation(inject) and not covered(_subjects(inject), heals):
            yield f"the heal of {_name(inject)} is proved on {listed(sorted(heals))} only"


def _ended(recording: Recording) -> bool:
    return any(e.kind is EventKind.RUN and e.detail != "begin" for e in recording.events)


# ---------------------------------------------------------------- versions


def _versions(events: Sequence[Event], *, followed: bool = True) -> Iterator[str]:
    """Say what ran that should not have; `followed`: also who did not say it, for a run that was to come to its end."""
    told = [event for event in events if event.kind is EventKind.VERSION]
    start = {event.node: event.data for event in told if event.data.get("when") == "start"}
    end = {event.node: event.data for event in told if event.data.get("when") == "end"}
    if not start and followed:
        yield "no process said at the start which version it is"
    for node, data in start.items():
        if _is_version(data.get("asked")) and data.get("version") != data["asked"]:
            yield f"{node} runs version {data.get('version')}, asked for was {data['asked']}"
        if data.get("of", "process") != "process":
            yield f"{node}: of its running program nothing was seen at the start, only the {data['of']} on disk"
        if node not in end and followed:
            yield f"{node} did not say at the end which version it is"
        elif node in end and not _replaced(events, node) and not _same(data, end[node]):
            yield f"{node} changed from {_shown(data)} to {_shown(end[node])}, and no operation replaced it"
    for node, version in _replacements(events, start):
        if node in end and _is_version(version) and end[node].get("version") != version:
            yield f"{node} was replaced by {version}, but runs {end[node].get('version')} at the end"


def _is_version(asked: Any) -> bool:
    """Say whether it names a version; a path does not say what its binary reports."""
    return isinstance(asked, str) and bool(asked) and "/" not in asked


def _same(start: Mapping[str, Any], end: Mapping[str, Any]) -> bool:
    """Say whether it is the same program. One that does not answer is the product's trouble, and known by its hash."""
    said = end.get("version") in (start.get("version"), "")
    return said and start.get("sha256") == end.get("sha256")


def _shown(data: Mapping[str, Any]) -> str:
    return f"{data.get('version')} ({str(data.get('sha256', ''))[:12]})"


def _replacing(events: Sequence[Event]) -> Iterator[tuple[Event, Mapping[str, Any]]]:
    for event in events:
        for action in event.data.get("actions", ()) if event.kind is EventKind.INJECT else ():
            if action.get("kind") == "stack" and action.get("operation") == "replace":
                yield event, action


def _replaced(events: Sequence[Event], node: str) -> bool:
    return any(node in _subjects(event) or not _subjects(event) for event, _ in _replacing(events))


def _replacements(events: Sequence[Event], nodes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Node → the last version that an operation gave it."""
    last: dict[str, Any] = {}
    for event, action in _replacing(events):
        last |= dict.fromkeys(_subjects(event) or tuple(nodes), action.get("arguments", {}).get("version"))
    yield from last.items()


# ---------------------------------------------------------------- faults


def _occurrences(events: Sequence[Event]) -> Iterator[tuple[Event, list[Event]]]:
    told: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        told.setdefault((event.step, event.occurrence), []).append(event)
    for event in events:
        if event.kind is EventKind.INJECT:
            yield event, told[event.step, event.occurrence]


def _faults(recording: Recording) -> Iterator[str]:
    for inject, told in _occurrences(recording.events):
        if not inject.data.get("victims"):
            yield f"{_name(inject)} met nobody: {inject.detail or 'nobody held the role'}"
        yield from _wrong_role(inject)
        yield from _met_the_idle(recording, inject)
        confirmed = last_evidence(told, EventKind.CONFIRM, "confirm")
        missing = [name for name in _subjects(inject) if not _operation(inject) and not covered([name], confirmed)]
        if missing or not confirmed:
            yield f"{_name(inject)} was never confirmed{f' on {listed(missing)}' if missing else ''}"
    yield from _disproved(recording)


def _wrong_role(inject: Event) -> Iterator[str]:
    """Say which victims, asked themselves just before the fault, did not hold the role that was aimed at."""
    seen, role = inject.data.get("role_seen", {}), inject.data.get("role")
    wrong = [name for name in inject.data.get("victims", ()) if name in seen and seen[name] != 1.0]
    if wrong:
        yield f"{_name(inject)} was aimed at the {role} and met {listed(wrong)}, which was not"
    unseen = [name for name in inject.data.get("victims", ()) if name not in seen]
    if unseen and inject.data.get("role_found"):
        yield f"{_name(inject)} was aimed at the {role}, and nothing says that {listed(unseen)} still was"


def _met_the_idle(recording: Recording, inject: Event) -> Iterator[str]:
    """Say of a fault whose victims all had nothing to do, as their stack's probe saw it last, that it had no effect."""
    victims = () if _operation(inject) else inject.data.get("victims", ())
    if victims and all(_worked(recording, name, inject.at_ns) is False for name in victims):
        yield f"{_name(inject)} met {listed(victims)}, which ran no task then; to hit one that works write running: any"


def _worked(recording: Recording, node: str, at_ns: int) -> bool | None:
    """Say whether a node ran a task of the job at a time; None where nobody knows, or nodes don't run tasks."""
    told = [r for r in recording.readings if r.name == WORKS and r.node == node and 0 <= at_ns - r.at_ns < FRESH_NS]
    newest = max(told, key=lambda reading: reading.at_ns, default=None)
    return None if newest is None or newest.value is None else newest.value > 0


def _disproved(recording: Recording) -> Iterator[str]:
    """Say which faults were not, or did not stay, as asked: by the newest confirmation, and by any watch."""
    told: dict[tuple[str, int], list[Event]] = {}
    for event in recording.events:
        if event.kind is EventKind.CONFIRM and "proof" in event.data:
            told.setdefault((event.step, event.occurrence), []).append(event)
    for events in told.values():
        newest = last_evidence(events, EventKind.CONFIRM, "confirm").values()
        watched = [event for event in events if event.data.get("phase") == "watch"]
        wrong = [event for event in (*newest, *watched) if event.data["proof"] != Proof.CONFIRMED]
        applied = (e for e in events if e.data.get("phase") == "inject" and e.data["proof"] == Proof.MISMATCH)
        yield from (f"{_name(e)} on {subject(e) or 'its victims'}: {_asked_and_got(e)}" for e in (*applied, *wrong[:1]))


def _asked_and_got(event: Event) -> str:
    proof = "is not what was asked for" if event.data["proof"] == Proof.MISMATCH else "could not be confirmed"
    if event.data.get("phase") == "watch":
        proof = "did not stay in force" if event.data["proof"] == Proof.MISMATCH else "could not be watched"
    odd = [m for m in event.data.get("measurements", ()) if m.get("proof") != Proof.CONFIRMED]
    told = [f"{m['name']}: asked {_number(m, 'asked')}, got {_number(m, 'got')}" for m in odd]
    why = listed(told) or event.detail or event.data.get("detail", "")
    return f"{proof}{f': {why}' if why else ''}"


def _number(measurement: Mapping[str, Any], which: str) -> str:
    value = measurement.get(which)
    return "nothing" if value is None else f"{value:g} {measurement['unit']}".strip()


def _subjects(inject: Event) -> tuple[str, ...]:
    return tuple(inject.data.get("subjects", inject.data.get("victims", ())))


def _operation(inject: Event) -> bool:
    kinds = [action.get("kind") for action in inject.data.get("actions", ())]
    return bool(kinds) and all(kind == "stack" for kind in kinds)


def _name(event: Event) -> str:
    return f"{event.step}#{event.occurrence}" if event.occurrence else event.step


def _praise(recording: Recording) -> str:
    faults = len(recording.windows.faults)
    met = f"{counted(faults, 'fault')} confirmed and healed" if faults else "no fault was planned"
    return f"the run counts: {recording.samples.num_rows:,} operations, {met}"
