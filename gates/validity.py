"""Whether a run counts at all: silence is never success.

    came to its end ─ version as asked, start and end ─ load reached its floor, generator not saturated ─
    every fault confirmed and watched ─ every heal proved ─ no trouble of the harness ─ samples in every window used

Each question is one function: recording → sentences, none if all is well. A run that does not count judges nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.errors import ChaosgateError
from chaos.model import EventKind, Proof, Span, Status, Verdict
from chaos.windows import covered, last_evidence, subject
from gates.traffic import dropped, inside, traffic
from gates.wording import at, counted, listed, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.model import Event
    from chaos.recording import Recording

SHOWN = 5  # sentences in the summary; all of them are in the numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Implied in every experiment. `spans` are the windows that its gates look at."""

    spans: tuple[Span, ...] = ()
    offered_share_min: float = 0.95  # of the asked rate, in the steady window
    cpu_share_max: float = 0.9  # of a core; Locust itself warns from here on
    lag_max_s: float = 0.05  # p99 of sending late, in the steady window
    dropped_share_max: float = 0.001  # of the arrivals of the steady window

    def judge(self, recording: Recording) -> Verdict:
        """Return PASS, or INCONCLUSIVE with every reason."""
        problems = [
            *recording.why_incomplete,
            *harness_troubles(recording),
            *_versions(recording.events),
            *self._load(recording),
            *_faults(recording),
            *heal_failures(recording),
            *_unproved_heals(recording),
            *self._windows(recording),
        ]
        if problems:
            return Verdict(
                status=Status.INCONCLUSIVE, summary=listed(problems, SHOWN, "; "), numbers={"problems": problems}
            )
        return Verdict(status=Status.PASS, summary=_praise(recording), numbers={"problems": []})

    def _load(self, recording: Recording) -> Iterator[str]:
        steady = recording.windows.select(Span.STEADY)
        load = load_asked(recording)
        if not steady or load.get("closed_loop"):
            return
        seen, asked = traffic(recording, Span.STEADY), load.get("rate_per_s")
        if asked is None:
            yield "the recording does not say which rate was asked for"
        elif (offered := len(seen.outcome) / seen.seconds) < asked * self.offered_share_min:
            yield f"the load did not reach its floor: {offered:,.0f}/s offered in steady, {asked:,.0f}/s asked"
        if (lost := dropped(recording, Span.STEADY)) > seen.n * self.dropped_share_max:
            yield f"{lost:,} arrivals of the steady window found no free user; raise users, or lower the rate"
        yield from self._saturation(recording)

    def _saturation(self, recording: Recording) -> Iterator[str]:
        loads = [e.data for e in recording.events if e.kind is EventKind.LOAD]
        times = np.array([data.get("at_ns", 0) for data in loads], dtype=np.int64)
        steady = [d for d, yes in zip(loads, inside(times, recording.windows.select(Span.STEADY)), strict=True) if yes]
        running = [d for d, yes in zip(loads, inside(times, recording.windows.select(Span.RUN)), strict=True) if yes]
        if not running:
            yield "the generator said nothing of itself while the run went on"
            return
        cpu = float(np.median([data.get("cpu_share", 0.0) for data in running]))
        if cpu >= self.cpu_share_max:
            yield f"the generator was saturated: {percent(cpu)} of a core; give the load more processes"
        lag_s = float(np.median([data.get("lag_p99_s", 0.0) for data in steady])) if steady else 0.0
        if lag_s > self.lag_max_s:
            yield f"the generator sent late: p99 {seconds(lag_s)} in steady, at most {seconds(self.lag_max_s)}"

    def _windows(self, recording: Recording) -> Iterator[str]:
        for span in self.spans:
            windows = recording.windows.select(span)
            if windows and not len(traffic(recording, span).outcome):
                yield f"no operation was recorded during {span}, which a gate looks at"


def load_asked(recording: Recording) -> Mapping[str, Any]:
    """Return {"rate_per_s", "closed_loop"}: run.json's `load`, else the experiment's own; empty if neither says."""
    load = recording.run.get("load")
    if isinstance(load, dict) and ("rate_per_s" in load or "closed_loop" in load):
        return load
    try:
        asked = recording.experiment.load
    except ChaosgateError:
        return {}
    return {"rate_per_s": asked.rate_per_s, "closed_loop": asked.closed_loop}


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


def _versions(events: Sequence[Event]) -> Iterator[str]:
    told = [event for event in events if event.kind is EventKind.VERSION]
    start = {event.node: event.data for event in told if event.data.get("when") == "start"}
    end = {event.node: event.data for event in told if event.data.get("when") == "end"}
    if not start:
        yield "no process said at the start which version it is"
    for node, data in start.items():
        if _is_version(data.get("asked")) and data.get("version") != data["asked"]:
            yield f"{node} runs version {data.get('version')}, asked for was {data['asked']}"
        if node not in end:
            yield f"{node} did not say at the end which version it is"
        elif not _replaced(events, node) and not _same(data, end[node]):
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
        confirmed = last_evidence(told, EventKind.CONFIRM, "confirm")
        missing = [name for name in _subjects(inject) if not _operation(inject) and not covered([name], confirmed)]
        if missing or not confirmed:
            yield f"{_name(inject)} was never confirmed{f' on {listed(missing)}' if missing else ''}"
    yield from _disproved(recording)


def _wrong_role(inject: Event) -> Iterator[str]:
    """Say which victims, asked themselves just before the fault, did not hold the role that was aimed at."""
    seen = inject.data.get("role_seen", {})
    wrong = [name for name in inject.data.get("victims", ()) if name in seen and seen[name] != 1.0]
    if wrong:
        yield f"{_name(inject)} was aimed at the {inject.data.get('role')} and met {listed(wrong)}, which was not"


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
