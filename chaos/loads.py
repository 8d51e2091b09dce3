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
    first, second = str(own.get("workload", "")), str(beside.get("workload", ""))
    if not beside or first == second:
        return {first: recording}
    generators = recording.samples["generator"].cast(pa.string())
    there = {*recording.ends, *pc.unique(generators).to_pylist()}
    theirs = {name for name in there if name.rpartition("-")[0] == second}
    ours = there - theirs  # what a ramp recorded, too
    return {
        workload: _view(recording, load, pc.is_in(generators, pa.array(sorted(names), pa.string())), names)
        for workload, load, names in ((first, own, ours), (second, beside, theirs))
    }


def of_load(recording: Recording, workload: str) -> Recording:
    """Return what one load saw, "" for the experiment's own; RecordingError if there was none of that workload."""
    if workload and workload not in recording.loads:
        raise RecordingError(f"there was no load of {workload} in this run")
    return recording.loads[workload or next(iter(recording.loads))]


def _view(recording: Recording, load: Mapping[str, Any], rows: pa.ChunkedArray, generators: set[str]) -> Recording:
    ends = {name: end for name, end in recording.ends.items() if name in generators}
    workload = load.get("workload", "")
    return replace(
        recording,
        run={**recording.run, "load": load, "beside": None},
        events=tuple(said for event in recording.events if (said := _said(workload, event)) is not None),
        _given=replace(recording.parts, samples=recording.samples.filter(rows), ends=ends),
    )


def _said(workload: str, event: Event) -> Event | None:
    """Return what the generators of one load said, None if they said nothing; every other event as it is."""
    if event.kind is not EventKind.LOAD:
        return event
    part = event.data.get("parts", {}).get(workload)
    return None if part is None else replace(event, data=part)
