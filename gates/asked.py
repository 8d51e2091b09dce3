"""What load a run was asked to have: its peak, and what share of that in which windows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS, ns
from chaos.errors import ChaosgateError
from chaos.model import LoadStage, Span, to_json
from chaos.shapes import mean_share, peak_at_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.recording import Recording


def load_asked(recording: Recording) -> Mapping[str, Any]:
    """Return run.json's `load`, else the experiment's own, as JSON data; empty if neither says.

    "rate_per_s" is the peak's; `share_asked` says what is offered of it when.
    """
    load = recording.run.get("load")
    if not isinstance(load, dict) or not ("rate_per_s" in load or "closed_loop" in load):
        try:
            load = to_json(recording.experiment.load)
        except ChaosgateError:
            return {}
    return load


def share_asked(recording: Recording, load: Mapping[str, Any], span: Span) -> float:
    """Return the mean share of the peak's rate that was asked for in the windows of a span."""
    run, spans = recording.windows.run, recording.windows.select(span)
    stages = [LoadStage(**stage) for stage in load.get("stages") or ()]
    if not stages or run is None or not spans:
        return 1.0
    try:
        warm_up_s = recording.experiment.warm_up_s
    except ChaosgateError:
        warm_up_s = 0.0
    first_ns = run[0] - ns(peak_at_s(stages) + warm_up_s)  # of the load; t = 0 is a warm-up after its peak
    lengths = [end - start for start, end in spans]
    shares = [mean_share(stages, (start - first_ns) / NS, (end - first_ns) / NS) for start, end in spans]
    return float(np.average(shares, weights=lengths)) if sum(lengths) else shares[0]
