"""The traffic of a run: calibrated once for equal loads of a set, started by the engine, recorded per generator.

calibrated share? ─▶ find the sustainable rate (seconds, once a set) ─▶ offer that share ─▶ processes in a client node
a load beside it? ─▶ at its own rate, to its own servers, at the same time
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from chaos.agent.points import announce
from chaos.errors import CapabilityError, HarnessError, WorkloadError
from chaos.model import to_json
from chaos.ports import GrantsAccess, Reaches, ServesSeveral, TellsLag
from workloads import WORKLOADS
from workloads.calibrate import calibrate
from workloads.climb import climb
from workloads.together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Experiment, Load
    from chaos.ports import Generator, Prepared, Stack, Target, Workload
    from chaos.recording import Recorder

CALIBRATIONS = 3
LAG_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Traffic:
    """Remembers calibrations, so that a set of experiments pays for each kind of load once."""

    _rates: dict[str, float] = field(default_factory=dict)

    def source(self, experiment: Experiment, stack: Stack, target: Target, recorder: Recorder) -> TrafficOfRun:
        """Return the traffic of one run. CapabilityError if the target has no place for a generator."""
        clients = target.topology().with_role("client")
        if not isinstance(target, Reaches) or not clients:
            raise CapabilityError(f"target {target.name}: no client node that a load generator could run in")
        access = stack.access(target) if isinstance(stack, GrantsAccess) else None
        spawn = partial(target.spawn, clients[0].name)
        made = [WORKLOADS[load.workload].make(spawn, access) for load in (experiment.load, experiment.beside) if load]
        return TrafficOfRun(experiment, stack, made[0], recorder, self._rates, *made[1:])

    def forget(self) -> None:
        """Calibrate anew from now on."""
        self._rates.clear()


class TrafficOfRun:
    """Implements ports.LoadSource."""

    def __init__(
        self,
        experiment: Experiment,
        stack: Stack,
        workload: Workload,
        recorder: Recorder,
        rates: dict[str, float],
        beside: Workload | None = None,
    ) -> None:
        self._experiment, self._stack, self._workload, self._recorder = experiment, stack, workload, recorder
        self._rates, self._beside = rates, beside
        self._prepared: Prepared | None = None
        self._closed = False

    def prepare(self) -> str:
        """Find the rate if a calibration was asked for, and start the generator's processes."""
        load, said = self._offered()
        beside = self._experiment.beside
        if beside is None:
            self._recorder.run(load=to_json(load), load_said=said)
            self._prepared = self._made_ready(self._workload, load)
            return said
        said += f"; beside it {beside.workload}, {beside.rate_per_s:,.0f}/s"
        self._recorder.run(load=to_json(load), beside=to_json(beside), load_said=said)
        both: dict[str, Prepared] = {}
        self._prepared = Together(both)  # what is ready is ended with the run, whatever becomes of the other
        for workload, one in ((self._workload, load), (self._beside, beside)):
            both[one.workload] = self._made_ready(workload, one)
            if self._closed:  # the run ended while this one got ready
                both[one.workload].kill()
                raise HarnessError("the run ended before its load was ready")
        return said

    def _made_ready(self, workload: Workload | None, load: Load) -> Prepared:
        if workload is None:
            raise HarnessError(f"nobody was made to generate {load.workload}")
        folder = self._recorder.folder
        return workload.prepare(load, self._serving(load), folder, self._experiment.seed, folder.name)

    def _serving(self, load: Load) -> Mapping[str, str]:
        """Return the servers that a load's clients talk to."""
        stack = self._stack
        return stack.serving(load.workload) if isinstance(stack, ServesSeveral) else stack.endpoints()

    def start(self, epoch_ns: int) -> Generator:
        """Let the traffic begin."""
        if self._prepared is None:
            raise HarnessError("traffic.start before traffic.prepare")
        announce("traffic.start")
        self._prepared.go(epoch_ns)
        return self._prepared

    def close(self) -> None:
        """End the generator's processes, whatever state they are in; idempotent."""
        self._closed = True
        if self._prepared is not None:
            self._prepared.kill()

    def _offered(self) -> tuple[Load, str]:
        load = self._experiment.load
        if load.closed_loop:
            return load, f"closed loop: {load.users} users as fast as they can"
        if load.calibrated_share is None:
            return load, f"offering {load.rate_per_s:,.0f}/s as the experiment says"
        found = self._calibrated(load)
        rate = found * load.calibrated_share
        said = f"offering {rate:,.0f}/s: {load.calibrated_share:.0%} of the {found:,.0f}/s that a calibration found"
        return replace(load, rate_per_s=rate), said

    def _calibrated(self, load: Load) -> float:
        asked = replace(load, calibrated_share=None, stages=())  # what is made of it does not change what is found
        key = json.dumps([to_json(self._experiment.stack), to_json(asked)], sort_keys=True, default=str)
        if key not in self._rates:
            paced = WORKLOADS[load.workload].paced
            self._rates[key] = self._climb(load) if paced else self._calibrate(load)
        return self._rates[key]

    def _climb(self, load: Load) -> float:
        """Find what the stack's job keeps up with; what that wrote is judged with the run."""
        if not isinstance(self._stack, TellsLag):
            raise CapabilityError("rate: this stack has no job that could fall behind; write a rate, e.g. 2000/s")
        behind = partial(self._stack.behind, LAG_TIMEOUT_S)
        folder, own = self._recorder.folder / "ramp", self._recorder.folder / "samples"
        found = climb(self._workload, load, self._serving(load), folder, self._experiment.seed, behind)
        own.mkdir(exist_ok=True)
        for path in (folder / "samples").iterdir():
            path.rename(own / f"ramp-{path.name}")
        return found

    def _calibrate(self, load: Load) -> float:
        """Try a few times: one busy moment of the machine must not end a run."""
        for attempt in range(1, CALIBRATIONS + 1):
            folder = self._recorder.folder / f"calibration-{attempt}"
            try:
                found = calibrate(self._workload, load, self._serving(load), folder, seed=self._experiment.seed)
            except WorkloadError:
                if attempt == CALIBRATIONS:
                    raise
            else:
                return found.rate_per_s
        raise AssertionError("the last attempt returns or raises")
