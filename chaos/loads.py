"""A run of two loads, taken apart: what each of them saw, as if it had been the only one. Pure.

    samples of records-0, kv-0 ─┬─▶ records: its operations, its generators' ends, what they said of themselves
    events, probes, topics ─────┴─▶ kv:      the same; faults, processes and probes belong to both

So no gate knows that there can be two loads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from chaos.errors import RecordingError
from chaos.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Event
    from chaos.recording import Recording


def apart(recording: Recording) -> dict[str, Recording]:
    """Return workload → what its load saw, the experiment's own first ("" if nothing says what that was)."""
    own, beside = (recording.run.get(key) or {} for key in ("load", "beside"))
    if not beside:
        return {own.get("workload", ""): recording}
    theirs = {name for name in recording.ends if name.rpartition("-")[0] == beside["workload"]}
    ours = recording.ends.keys() - theirs  # what a ramp recorded, too
    return {
        load["workload"]: _view(recording, load, generators) for load, generators in ((own, ours), (beside, theirs))
    }


def of_load(recording: Recording, workload: str) -> Recording:
    """Return what one load saw, "" for the experiment's own; RecordingError if there was none of that workload."""
    if workload and workload not in recording.loads:
        raise RecordingError(f"there was no load of {workload} in this run")
    return recording.loads[workload or next(iter(recording.loads))]


def _view(recording: Recording, load: Mapping[str, Any], generators: set[str]) -> Recording:
    names = pa.array(sorted(generators), pa.string())
    samples = recording.samples.filter(pc.is_in(recording.samples["generator"].cast(pa.string()), names))
    ends = {name: end for name, end in recording.ends.items() if name in generators}
    return replace(
        recording,
        run={**recording.run, "load": load, "beside": None},
        events=tuple(_said(load["workload"], event) for event in recording.events),
        _given=replace(recording.parts, samples=samples, ends=ends),
    )


def _said(workload: str, event: Event) -> Event:
    """Return what the generators of one load said; every other event as it is."""
    parts = event.data.get("parts") if event.kind is EventKind.LOAD else None
    return replace(event, data=parts[workload]) if parts and workload in parts else event
