"""Every seam on one page: what can be added, and what can be faked.

          Fault.aim          Target.inject         Injection.heal
    YAML ──────────▶ Aimed ──────────────▶ effect ─────────────▶ as before
                                             │ measured: Evidence
    Stack: processes, roles, versions        Workload: Locust        Gate: Recording -> Verdict

Extra powers are one-method protocols, asked for with isinstance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from pathlib import Path
    from queue import Queue

    from chaos.model import (
        Action,
        Aimed,
        Evidence,
        Experiment,
        Load,
        LoadStatus,
        Node,
        Process,
        ProcessState,
        Reading,
        StackAction,
        StackSpec,
        Suspicion,
        Topology,
        Verdict,
    )
    from chaos.recording import Recording
    from gates.judge import Judgement


class Clock(Protocol):
    """Time as an argument; chaos/clock.py has the real one, chaos/testing.py the fake."""

    def now_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        ...

    def sleep_until(self, at_ns: int) -> bool:
        """Sleep until `at_ns`; False if woken before it."""
        ...


class Fault(Protocol):
    """Settings as a frozen dataclass whose fields are its YAML keys."""

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:
        """Return what is done to whom. Pure."""
        ...


class Injection(Protocol):
    """One step in force."""

    events: Queue[Evidence]  # confirmations, the low-rate watch, heals; None-terminated never: ask `done`

    def heal(self) -> Future[Evidence]:
        """Undo it; returns at once, idempotent. The future raises only if the heal failed."""
        ...


class Target(Protocol):
    """Where a stack runs. Opened and closed as a context manager by its factory in chaos/targets."""

    name: str

    def topology(self) -> Topology:
        """Nodes and capabilities."""
        ...

    def inject(self, aimed: Sequence[Aimed], *, deadline_s: float) -> Injection:
        """Do all of a step together; the node undoes it by itself after `deadline_s` or when we are gone."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return kernel, backends, real-time priority …: what belongs into run.json."""
        ...


@runtime_checkable
class RunsProcesses(Protocol):
    """A target that starts the stack's processes itself (a lab)."""

    def start(self, node: str, process: Process) -> ProcessState:
        """Start it; the command is recorded as the undo of a kill."""
        ...

    def stop(self, node: str, name: str, *, grace_s: float) -> ProcessState:
        """SIGTERM, after `grace_s` SIGKILL; not started again by a heal."""
        ...

    def processes(self) -> Sequence[ProcessState]:
        """Every process ever started, with its end if it has one."""
        ...

    def folder(self, node: str) -> Path:
        """Return the node's data folder, as seen from the controller and from the node (the same path)."""
        ...


@runtime_checkable
class Reaches(Protocol):
    """A target whose network the controller can enter."""

    def entered(self, node: str = "") -> AbstractContextManager[None]:
        """Sockets that this thread makes inside the block belong to the node's network (default: the client's)."""
        ...

    def spawn(self, node: str, argv: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
        """Start a helper (a load generator) inside a node; it dies with the target."""
        ...


@runtime_checkable
class Backends(Protocol):
    """A target that can say, without writing, which mechanism carries out an action."""

    def backend(self, action: Action) -> str:
        """Return its name; CapabilityError if there is none."""
        ...


class Stack(Protocol):
    """What runs on a target: processes, roles, ready checks, versions."""

    spec: StackSpec

    def nodes(self) -> Sequence[Node]:
        """Return the nodes it wants from a lab, client nodes included (addresses are the lab's to give)."""
        ...

    def up(self, target: Target, folder: Path) -> None:
        """Start everything and wait until it serves; StackError naming what is not ready, with its log's tail."""
        ...

    def endpoints(self) -> Mapping[str, str]:
        """Node name → host:port that clients use."""
        ...

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """Node → {"version": what its process reports, "sha256": of the running binary, "path": …}."""
        ...

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        """Carry out an operation and wait for readiness; return a sentence."""
        ...


@runtime_checkable
class FindsRole(Protocol):
    """A stack that knows who is what right now."""

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:
        """Return the nodes that hold `role` now; empty: nobody, within the timeout."""
        ...


@runtime_checkable
class HandsRole(Protocol):
    """A stack that can be asked to put a role where it was: a replay wants the recorded victim to be hit."""

    def hand_over(self, role: str, names: Sequence[str], timeout_s: float) -> str:
        """See to it that all of `names` hold `role`; return what was done, "" for nothing.

        StackError if they don't hold it in time.
        """
        ...


@runtime_checkable
class ProvidesVersions(Protocol):
    """A stack whose programs must be fetched or built once."""

    def provide(self, versions: Sequence[str], say: Callable[[str], None]) -> None:
        """See to it that these versions, and the one it starts with, are at hand; UsageError if one can't be had."""
        ...


@runtime_checkable
class NamesOrigins(Protocol):
    """A stack that can say of a version whether there is one, and where it comes from."""

    def origin(self, version: str) -> str:
        """Say what runs if `version` is asked for ("": what it starts with); UsageError if there is no such one."""
        ...


@runtime_checkable
class HasProbes(Protocol):
    """A stack that knows how it is looked at."""

    def probes(self, target: Any) -> Mapping[str, tuple[Probe, float]]:
        """Return name → (probe, seconds between two looks); the target need not be up yet."""
        ...


@runtime_checkable
class ComparesReplicas(Protocol):
    """A stack whose replicas can be compared once traffic has ended."""

    def compare_replicas(self) -> Sequence[Reading]:
        """Return the readings of a comparison at equal logs."""
        ...


@runtime_checkable
class LimitsCpu(Protocol):
    """A stack that wants some of its nodes limited."""

    def cpu_limits(self) -> Mapping[str, float]:
        """Return node → cores."""
        ...


@runtime_checkable
class GrantsAccess(Protocol):
    """A stack that does not let everybody in."""

    def access(self, target: Any) -> Any:
        """Return what its clients have to show, as its workloads take it; the target need not be up yet."""
        ...


@runtime_checkable
class ServesSeveral(Protocol):
    """A stack whose workloads do not all talk to the same servers."""

    def serving(self, workload: str) -> Mapping[str, str]:
        """Return server → host:port for the clients of a workload; UsageError if the stack has none for it."""
        ...


LAG = "lag"  # among a StackKind's readings: its stacks are a TellsLag


@runtime_checkable
class TellsLag(Protocol):
    """A stack with a job between its topics, which can fall behind."""

    def behind(self, timeout_s: float) -> float | None:
        """Return how many records the job has yet to fetch; None if nobody tells."""
        ...


class Workload(Protocol):
    """A kind of traffic; workloads.WORKLOADS makes it for a place to run in."""

    def prepare(
        self,
        load: Load,
        endpoints: Mapping[str, str],
        folder: Path,
        seed: int,
        run_id: str,
        *,
        duration_s: float | None = None,
    ) -> Prepared:
        """Start the generator's processes, which record below `folder`, and wait until they are ready for `go`.

        Keys begin with `run_id`. `duration_s`: from the epoch; None: until told to drain. WorkloadError if one is not
        ready, and none is left behind then.
        """
        ...


class LoadSource(Protocol):
    """The traffic of one run as the engine sees it: workload, endpoints and folder are bound."""

    def prepare(self) -> str:
        """Find the rate (a calibration takes seconds); return a sentence about it."""
        ...

    def start(self, epoch_ns: int) -> Generator:
        """Start the generator; operations are scheduled from `epoch_ns`."""
        ...


class Spawn(Protocol):
    """Starts a process somewhere, e.g. in a node of a lab (Reaches.spawn, bound to the node)."""

    def __call__(self, argv: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
        """Start `argv`; keywords as for subprocess.Popen."""
        ...


class Generator(Protocol):
    """Traffic under way. `epoch_ns`: when it really began, which may be later than asked for."""

    epoch_ns: int

    def status(self) -> LoadStatus:
        """Return the newest; never blocks."""
        ...

    def stop(self) -> None:
        """Drain and close; operations still open become unknown."""
        ...


class Prepared(Generator, Protocol):
    """A generator whose processes are ready; `stop` is `drain`, final reads and `close` in one."""

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`, or now if that has passed."""
        ...

    def drain(self) -> None:
        """End the traffic; WorkloadError if the generator died."""
        ...

    def close(self) -> None:
        """End the recordings, cleanly, and the processes; WorkloadError if one died before that."""
        ...

    def kill(self) -> None:
        """End every process now; idempotent. Recordings not closed before stay cut short."""
        ...


class Probe(Protocol):
    """Looks, never touches."""

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Return one reading a node; no answer is a Reading with value None."""
        ...


class Gate(Protocol):
    """Settings as a frozen dataclass; judges a recording. Pure."""

    def judge(self, recording: Recording) -> Verdict:
        """Return the verdict; what it raises becomes INCONCLUSIVE."""
        ...


@runtime_checkable
class Watches(Protocol):
    """A gate that can say no while the run goes on."""

    def watch(self, readings: Sequence[Reading]) -> Verdict | None:
        """Return a certain FAIL, or None."""
        ...


class Report(Protocol):
    """Draws a judged recording; a function will do. Pure."""

    def __call__(self, recording: Recording, judgement: Judgement) -> str:
        """Return the text of the report."""
        ...


class LogReader(Protocol):
    """Knows the alarming lines in the log of one of a stack's processes. Pure."""

    def __call__(self, text: str) -> Sequence[Suspicion]:
        """Return them, in order."""
        ...


class StackFactory(Protocol):
    """How chaos/stacks names a stack; `check` finds what is wrong with its settings before anything is touched."""

    def __call__(self, experiment: Experiment) -> Stack:
        """Return the stack, not yet started."""
        ...
