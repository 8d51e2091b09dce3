"""What can be known before a run: whether its windows will hold enough operations for its gates to tell.

    rate · seconds of the window ─▶ operations due      gate ─▶ operations needed      due < needed ─▶ a sentence

Only where a rate is asked for; one that a calibration finds is not known before. A fault's window is what the file
says: the real one lasts until the heal is proved, a little longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.intervals import samples_for_quantile, samples_for_share
from chaos.model import Span
from chaos.occurrences import is_momentary, lulls, occurrences
from chaos.shapes import mean_share, peak_at_s
from chaos.units import format_duration
from gates.acknowledged_writes import AcknowledgedWrites
from gates.errors import NONE_OF, Errors
from gates.latency import Latency
from gates.linearizable import Linearizable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.model import Experiment, Load, NamedGate


def too_little(experiment: Experiment) -> list[str]:
    """Return a sentence for each gate that will not be able to tell, with what would do."""
    return [
        f"{named.name}: {what} {needed:,} operations, about {due:,.0f} are due: raise the rate, or let it last "
        f"{_text(seconds * needed / due) if due else 'longer'}"
        for named in experiment.gates
        if (rate := _rate_per_s(load := _load_of(named, experiment), experiment)) is not None
        for what, needed, share, seconds in _asked(named.gate, load, experiment)
        if (due := rate * share * seconds) < needed
    ]


def _load_of(named: NamedGate, experiment: Experiment) -> Load:
    beside = experiment.beside
    return beside if beside is not None and named.of == beside.workload else experiment.load


def _rate_per_s(load: Load, experiment: Experiment) -> float | None:
    """Return the mean rate from t = 0 on; None if nobody says it."""
    if load.rate_per_s is None or load.closed_loop:
        return None
    first_s = peak_at_s(load.stages) + experiment.warm_up_s
    return load.rate_per_s * mean_share(load.stages, first_s, first_s + experiment.duration_s)


def _asked(gate: Any, load: Load, experiment: Experiment) -> Iterator[tuple[str, int, float, float]]:
    """Yield what needs how many operations, of which share of all, in how many seconds."""
    if isinstance(gate, Latency | Errors):
        seconds = window_s(experiment, gate.during)
        if seconds is not None:
            yield _needed_by(gate), _least(gate), 1.0, seconds
        return
    since_s = experiment.duration_s - min((step.at_s for step in experiment.steps), default=0.0)
    if isinstance(gate, Linearizable) and (share := _observing(load)) is not None:
        yield "what reads and swaps tell needs at least", gate.observed_min, share, since_s
    if isinstance(gate, AcknowledgedWrites) and (share := _share(load, "once")) is not None:
        yield "write-once keys need at least", gate.writes_min, share, since_s


def _needed_by(gate: Latency | Errors) -> str:
    name = f"p{gate.percentile:g}" if isinstance(gate, Latency) else "the limit"
    return f"{name} during {gate.during} needs at least"


def _least(gate: Latency | Errors) -> int:
    """Return how many operations the gate needs in the best of cases."""
    if isinstance(gate, Latency):
        return max(gate.samples_min or 1, samples_for_quantile(gate.percentile / 100))
    return samples_for_share(gate.limit_share) if gate.limit_share else NONE_OF


def window_s(experiment: Experiment, during: Span) -> float | None:
    """Return how long the windows of `during` last together, as planned; None if only the run will show it."""
    steps, end_s = experiment.steps, experiment.duration_s
    if during is Span.RUN or (during is Span.STEADY and not steps):
        return end_s
    if during is Span.STEADY:
        return min(step.at_s for step in steps)
    if during is Span.RECOVERY:
        return sum(max(0.0, next_s - since_s) for _, since_s, next_s in lulls(steps, end_s))
    if any(is_momentary(step.fault) for step in steps):
        return None
    spans = sorted((one.start_s, one.end_s) for step in steps for one in occurrences(step))
    total_s = covered_s = 0.0
    for start_s, stop_s in spans:
        total_s += max(0.0, stop_s - max(start_s, covered_s))
        covered_s = max(covered_s, stop_s)
    return total_s


def _observing(load: Load) -> float | None:
    """Return the share of operations that tell something of the state; a serializable read may be stale by promise."""
    reads = 0.0 if load.settings.get("consistency") == "serializable" else _share(load, "get")
    swaps = _share(load, "cas")
    return None if reads is None or swaps is None else reads + swaps


def _share(load: Load, kind: str) -> float | None:
    """Return a kind's share of the workload's mix; None for a workload that has none."""
    mix = load.settings.get("mix")
    return float(mix[kind]) if isinstance(mix, dict) and kind in mix else None


def _text(seconds: float) -> str:
    return format_duration(round(seconds + 0.05, 1))
