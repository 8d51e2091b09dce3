"""What a second load saw, on the timeline's own axis: its rate and its latency. The page's own charts are the first's.

All of it from samples; a run of one load has none of these. Pure.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from reports.sections.streams import Chart, Curve
from reports.series import series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.recording import Recording
    from reports.series import Series


def charts(recording: Recording) -> list[dict[str, Any]]:
    """Return its curves as plain JSON data."""
    beside = islice(recording.loads.items(), 1, None)
    seen = [(workload, series(view)) for workload, view in beside]
    return [asdict(chart) for workload, found in seen if found is not None for chart in _charts(workload, found)]


def _charts(workload: str, found: Series) -> Iterator[Chart]:
    rates = {"served": found.served, "failed": found.failed, "unknown": found.unknown}
    yield Chart(
        name=f"rate-{workload}",
        title=f"{workload}: operations per second",
        note="of the load beside",
        unit="count",
        curves=[Curve(label=label, t=found.t, v=v) for label, v in rates.items() if label == "served" or any(v)],
    )
    yield Chart(
        name=f"latency-{workload}",
        title=f"{workload}: latency",
        note="of the load beside, from the intended moment",
        unit="ms",
        curves=[Curve(label="p50", t=found.t, v=found.p50_ms), Curve(label="p99", t=found.t, v=found.p99_ms)],
    )
