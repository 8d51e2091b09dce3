"""How much traffic this machine sustains right now: one open-loop ramp, about four seconds.

    rate │            /  ← greatest asked
         │         / ┆ x x x    two buckets in a row with p99 over the limit, or arrivals not served
         │      /●●●●┆
         │   /●●       └─ sustainable: where the ramp was just before
         └──────────────▶ t

A share of the result is then offered, so that one experiment means the same on a laptop and on a server. The ramp
overloads the stack for a moment on purpose: calibrate before the run, with the same users and mix, never during it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from chaos.agent.points import effect
from chaos.clock import NS
from chaos.errors import UsageError, WorkloadError
from chaos.model import Load, LoadStage, Outcome, to_json
from workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from chaos.ports import Prepared, Workload

RAMP_S = 4.0
LIMIT_S = 0.1  # p99 from the intended time: far above a quiet round trip, so that one hiccup of the machine is no limit
GREATEST_PER_PROCESS_S = 4000.0  # a generator process saturates a core not far above it
_BUCKET_S = 0.25
_SERVED_SHARE = 0.98
_SKIPPED = 2  # buckets at the start: connections open, and a handful of samples make no percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A quarter of a second of the ramp."""

    rate_per_s: float  # asked, at its end
    served_share: float  # of the arrivals due in it, those that were answered ok
    p99_s: float  # from the intended time; inf where fewer than 99 % were answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was found: the sustainable rate, and the ramp by which it was found."""

    rate_per_s: float
    greatest_per_s: float
    limit_s: float
    buckets: tuple[Bucket, ...]

    @property
    def limited(self) -> bool:
        """Say whether the stack gave in before the ramp's end (else it may sustain more than was tried)."""
        return self.rate_per_s < self.greatest_per_s


def calibrate(
    workload: Workload,
    load: Load,
    endpoints: Mapping[str, str],
    folder: Path,
    seed: int,
    *,
    ramp_s: float = RAMP_S,
    limit_s: float = LIMIT_S,
    greatest_per_s: float | None = None,
) -> Calibration:
    """Ramp up and see; samples and `calibration.json` go below `folder`. WorkloadError if nothing was sustained."""
    if WORKLOADS[load.workload].paced:
        raise UsageError(
            f"load: {load.workload}: a log takes what nobody can read in time, so it tells no rate; write rate: 2000/s"
        )
    greatest = greatest_per_s or GREATEST_PER_PROCESS_S * load.processes
    ramp = dataclasses.replace(
        load,
        rate_per_s=greatest,
        closed_loop=False,
        stages=(LoadStage(ramp_s=ramp_s),),
        settings={**load.settings, "patience_s": 4 * limit_s, "sabotage": ""},
    )
    generator = workload.prepare(
        ramp, endpoints, folder, seed, run_id=f"calibration-{time.monotonic_ns()}", duration_s=ramp_s
    )
    due_s, latency_s = _run(generator, folder, ramp_s)
    found = sustainable(due_s, latency_s, ramp_s=ramp_s, greatest_per_s=greatest, limit_s=limit_s)
    (folder / "calibration.json").write_text(json.dumps(_plain(found), indent=1) + "\n")
    if found.rate_per_s <= 0:
        raise WorkloadError(f"calibration: p99 never stayed below {limit_s * 1000:g} ms; see {folder}/calibration.json")
    return found


def _run(generator: Prepared, folder: Path, ramp_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carry the ramp out; return due times from its start and latencies, in seconds, of what was answered ok."""
    try:
        effect("traffic.calibrate", lambda: generator.go(0))
        deadline = time.monotonic() + ramp_s
        while (left := deadline - time.monotonic()) > 0 and generator.status().running:
            time.sleep(min(left, 0.1))
        generator.drain()
        generator.close()
    finally:
        generator.kill()
    due, back = _answered(sorted((folder / "samples").glob("*.arrow")))
    return (due - generator.epoch_ns) / NS, (back - due) / NS


def _answered(paths: Sequence[Path]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    due, back = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for path in paths:
        with pa.ipc.open_stream(path.read_bytes()) as stream:
            table = stream.read_all().select(["intended_ns", "return_ns", "outcome"])
        ok = table["outcome"].to_numpy() == Outcome.OK
        due.append(table["intended_ns"].to_numpy()[ok])
        back.append(table["return_ns"].to_numpy()[ok].astype(np.int64))
    return np.concatenate(due), np.concatenate(back)


def sustainable(
    due_s: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    *,
    ramp_s: float,
    greatest_per_s: float,
    limit_s: float,
) -> Calibration:
    """Find the rate just before the first two bad buckets in a row of a linear ramp from 0. Pure."""
    slope = greatest_per_s / ramp_s
    buckets = []
    for n in range(round(ramp_s / _BUCKET_S)):
        start_s, end_s = n * _BUCKET_S, (n + 1) * _BUCKET_S
        expected = slope * (end_s**2 - start_s**2) / 2
        latencies = latency_s[(due_s >= start_s) & (due_s < end_s)]
        share = min(1.0, len(latencies) / expected)
        buckets.append(Bucket(rate_per_s=slope * end_s, served_share=share, p99_s=_p99(latencies, expected)))
    good = [b.p99_s <= limit_s and b.served_share >= _SERVED_SHARE for b in buckets]
    return Calibration(
        rate_per_s=_last_good_rate(buckets, good),
        greatest_per_s=greatest_per_s,
        limit_s=limit_s,
        buckets=tuple(buckets),
    )


def _last_good_rate(buckets: Sequence[Bucket], good: Sequence[bool]) -> float:
    found = 0.0
    for n in range(_SKIPPED, len(buckets)):
        if good[n]:
            found = buckets[n].rate_per_s
        elif n + 1 == len(buckets) or not good[n + 1]:
            break
    return found


def _p99(latencies: NDArray[np.float64], expected: float) -> float:
    """Return the latency that 99 % of the expected arrivals did not exceed; those not answered count as infinite."""
    rank = math.ceil(0.99 * expected)
    return float(np.sort(latencies)[min(rank, len(latencies)) - 1]) if len(latencies) >= rank - 1 > 0 else math.inf


def _plain(found: Calibration) -> dict[str, object]:
    """Return JSON data; JSON has no infinity."""
    buckets = [{**to_json(b), "p99_s": None if math.isinf(b.p99_s) else b.p99_s} for b in found.buckets]
    return {**to_json(found), "buckets": buckets}
