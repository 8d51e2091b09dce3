"""The greatest rate that a job keeps up with: an open-loop ramp, watched by how far the job is behind what is offered.

    rate   │        /            lag │          ╭   more than a second's worth, twice in a row: too much
           │     /┆                  │         /┆
           │  /   ┆                  │ ╌╌╌╌╌╌╌┆╌╌╌   one second's worth of what comes just then
           └──────┴────▶ t           └────────┴────▶ t
                  └─ what is found: the rate at the last look before that

Behind is what the log has not taken yet, and what the job has not fetched from there. Neither alone would tell: a log
takes what no job can read in time, and brokers that are short of a processor keep an idle job waiting. What the ramp
writes stays in the log, and is judged with it; its records have keys of their own, and their samples go with the run's.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.agent.points import effect
from chaos.clock import NS
from chaos.errors import WorkloadError
from chaos.model import Load, LoadStage
from workloads.records.settings import RecordsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from chaos.model import LoadStatus
    from chaos.ports import Prepared, Workload

RAMP_S = 20.0
GREATEST_PER_PROCESS_S = 8000.0  # records; a generator process saturates a core not far above it
LOOK_S = 0.5
WORTH_S = 1.0  # of traffic that a job may be behind; its own look at its source is as old as that
FLOOR = 200.0  # records behind that are no sign of anything at a low rate
SETTLED_S = 60.0  # how long it may take to come back from the ramp


@dataclass(frozen=True, slots=True)
class Look:
    """How many records were left when `rate_per_s` were coming: for the job to fetch, and for the log to take.

    `unread` None: nobody told.
    """

    rate_per_s: float
    unread: float | None
    unanswered: float = 0.0

    @property
    def tells(self) -> bool:
        """Whether it decides anything: the log alone may be too far behind."""
        return self.unread is not None or self._is_much(self.unanswered)

    @property
    def keeps_up(self) -> bool:
        """Whether all together was no more than what comes within WORTH_S."""
        return self.unread is not None and not self._is_much(self.unread + self.unanswered)

    def _is_much(self, records: float) -> bool:
        return records > max(FLOOR, self.rate_per_s * WORTH_S)


def sustained(looks: Sequence[Look]) -> float:
    """Return the rate of the last look before the first two in a row at which the job did not keep up. Pure.

    Looks of which nobody told decide nothing.
    """
    told = [look for look in looks if look.tells]
    found = 0.0
    for place, look in enumerate(told):
        if look.keeps_up:
            found = look.rate_per_s
        elif place + 1 == len(told) or not told[place + 1].keeps_up:
            break
    return found


def gave_in(looks: Sequence[Look]) -> bool:
    """Say whether the last two looks that told something were both too far behind."""
    told = [look for look in looks if look.tells][-2:]
    return len(told) == 2 and not any(look.keeps_up for look in told)


def unanswered(status: LoadStatus, epoch_ns: int, ramp_s: float, greatest_per_s: float) -> float:
    """Return how many of the records that a ramp from `epoch_ns` on has offered the log is not known to have. Pure."""
    at_s = (status.at_ns - epoch_ns) / NS
    due = greatest_per_s * at_s**2 / (2 * ramp_s) if at_s > 0 else 0.0
    return max(0.0, due - status.ok)


def climb(
    workload: Workload,
    load: Load,
    endpoints: Mapping[str, str],
    folder: Path,
    seed: int,
    behind: Callable[[], float | None],
    *,
    ramp_s: float = RAMP_S,
    greatest_per_s: float | None = None,
) -> float:
    """Ramp up until the job falls behind, let it catch up, and return the rate; samples go below `folder`.

    WorkloadError if it never kept up, if nobody told how far it was behind, or if it does not catch up.
    """
    greatest = greatest_per_s or GREATEST_PER_PROCESS_S * load.processes
    own = RecordsSettings.of(load.settings)
    apart = {"first_key": own.first_key + own.keys, "read": (), "markers": False, "sabotage": ""}
    settings = {**load.settings, **apart}
    ramp = dataclasses.replace(load, rate_per_s=greatest, stages=(LoadStage(ramp_s=ramp_s),), settings=settings)
    generator = workload.prepare(ramp, endpoints, folder, seed, run_id="ramp", duration_s=ramp_s)
    looks: list[Look] = []
    try:
        effect("traffic.calibrate", lambda: generator.go(0))
        _watch(generator, looks, behind, ramp_s, greatest)
        generator.drain()
        generator.close()
    finally:
        generator.kill()
    found = sustained(looks)
    if not found:
        raise WorkloadError(f"ramp: the job kept up with no rate that was tried; it was behind by {_shown(looks)}")
    _await_caught_up(behind, found)
    return found


def _watch(
    generator: Prepared, looks: list[Look], behind: Callable[[], float | None], ramp_s: float, greatest: float
) -> None:
    began = time.monotonic()
    while (at_s := time.monotonic() - began) < ramp_s and not gave_in(looks) and generator.status().running:
        alone = Look(
            greatest * at_s / ramp_s, None, unanswered(generator.status(), generator.epoch_ns, ramp_s, greatest)
        )
        # A flooded machine takes seconds to say how far the job is behind, in which it would be flooded further.
        looks.append(alone if alone.tells else dataclasses.replace(alone, unread=behind()))
        time.sleep(LOOK_S)


def _await_caught_up(behind: Callable[[], float | None], rate_per_s: float) -> None:
    deadline = time.monotonic() + SETTLED_S
    while (left := behind()) is None or left > max(FLOOR, rate_per_s * WORTH_S):
        if time.monotonic() > deadline:
            raise WorkloadError(f"ramp: {SETTLED_S:g} s after it the job is still behind by {_records(left)}")
        time.sleep(LOOK_S)


def _shown(looks: Sequence[Look]) -> str:
    told = [look for look in looks if look.tells]
    return _records((told[-1].unread or 0.0) + told[-1].unanswered if told else None)


def _records(count: float | None) -> str:
    return "nobody knows how much" if count is None else f"{count:,.0f} records"
