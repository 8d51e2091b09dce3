"""The frozen values that flow through a run.

    Experiment ─plan─▶ Timeline ─run─▶ Recording ─judge─▶ Verdict ─render─▶ report

Standard library only: the agent, which is shipped to nodes, reads this file too.
Units end names; a text such as "50ms" was parsed at the edge. Times of a run are int ns of CLOCK_MONOTONIC;
offsets within an experiment are float seconds from the moment at which the load has reached its hold (t = 0).
Shares, losses and correlations are fractions from 0 to 1.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from chaos.ports import Fault, Gate

# ---------------------------------------------------------------- truth has three values


class Status(enum.IntEnum):
    """A gate's answer; the worst of several is their max."""

    PASS = 0
    INCONCLUSIVE = 1
    FAIL = 2


class Outcome(enum.IntEnum):
    """What a client knows of its operation; UNKNOWN may or may not have had its effect."""

    OK = 0
    FAILED = 1
    UNKNOWN = 2


class Proof(enum.StrEnum):
    """What a measurement says of a fault or of its heal."""

    CONFIRMED = "confirmed"
    MISMATCH = "mismatch"
    INCONCLUSIVE = "inconclusive"


class Decision(enum.StrEnum):
    """The answer to a set of experiments."""

    PROMOTE = "promote"
    HOLD = "hold"
    CANNOT_TELL = "cannot tell"


class Span(enum.StrEnum):
    """The window that a gate looks at; windows.py says where each begins and ends."""

    STEADY = "steady"
    FAULT = "fault"
    RECOVERY = "recovery"
    RUN = "run"


class Direction(enum.StrEnum):
    """Of packets, seen from the victim: IN is what it receives, OUT what it sends."""

    IN = "in"
    OUT = "out"
    BOTH = "both"


# ---------------------------------------------------------------- where a stack runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine, pod or namespace set."""

    name: str
    role: str
    address: str
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The nodes of a target, and what can be done there."""

    nodes: tuple[Node, ...]
    capabilities: frozenset[str] = frozenset()

    def node(self, name: str) -> Node:
        """Return the node called `name`; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def with_role(self, role: str) -> tuple[Node, ...]:
        """Return the nodes of a static role, in the topology's order."""
        return tuple(node for node in self.nodes if node.role == role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server of the stack: the recorded command by which it is started, and started again."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    log: str = ""  # path on the controller's machine; appended to


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What a lab knows of a process: running iff `exit_code` is None. `starts` counts its starts."""

    node: str
    name: str
    pid: int
    started_ns: int
    starts: int = 1
    exit_code: int | None = None  # negative: ended by that signal
    ended_ns: int | None = None
    killed: bool | None = None  # by a SIGKILL of ours; None: the target can't say


# ---------------------------------------------------------------- faults, as data


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Gilbert-Elliott loss after tc-netem(8): p good→bad, r bad→good, loss in bad (1-h) and in good (1-k)."""

    enter: float
    leave: float
    loss_bad: float = 1.0
    loss_good: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What happens to packets on a path, in the terms of tc-netem(8)."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    distribution: str = "uniform"  # uniform | normal | pareto
    correlation: float = 0.0  # of successive delays
    loss: float = 0.0
    burst: Burst | None = None
    duplicate: float = 0.0
    reorder: float = 0.0  # share sent at once, ahead of delayed ones
    corrupt: float = 0.0
    rate_bit_s: float | None = None
    ordered: bool = False  # jitter never reorders: release = max(own, previous)
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Impair the packets between the subject and `peers` (node names; empty: everybody)."""

    kind: ClassVar[str] = "shape"
    cuts_control: ClassVar[bool] = False
    impairment: Impairment
    direction: Direction = Direction.IN
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The subject and `peers` no longer hear each other: one side of a grudge."""

    kind: ClassVar[str] = "cut"
    cuts_control: ClassVar[bool] = False
    peers: tuple[str, ...]
    direction: Direction = Direction.BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """SIGKILL or SIGSTOP to the stack's processes on the subject; the undo is start or SIGCONT.

    `process` empty: every process of the stack on the node. KILL: started again at heal.
    """

    kind: ClassVar[str] = "signal"
    cuts_control: ClassVar[bool] = False
    signal: str = "KILL"  # KILL | STOP
    process: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Stop the whole node: every process, none of them told. cgroup v2's freezer, else SIGSTOP by the node's init."""

    kind: ClassVar[str] = "freeze"
    cuts_control: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The node loses power: link down first, so that nobody hears a RST, then every process dies. Heal: boot.

    `unsynced_lost`: so does what was written and not synced; the node's files must be served by a disk of ours.
    """

    kind: ClassVar[str] = "power"
    cuts_control: ClassVar[bool] = False
    unsynced_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuQuota:
    """The whole node gets no more CPU time than `cores`, by the kernel's bandwidth control; undone: what it had."""

    kind: ClassVar[str] = "cpu"
    cuts_control: ClassVar[bool] = False
    cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFault:
    """A share of the operations of some kinds on the node's files takes longer, then fails if there is an `error`."""

    kind: ClassVar[str] = "disk"
    cuts_control: ClassVar[bool] = False
    ops: tuple[str, ...]  # read, write, sync, meta
    share: float = 1.0
    delay_s: float = 0.0
    error: str = ""  # a name of errno(3)
    trials: int = 60  # operations of our own, of each kind, by which it is measured
    workers: int = 1  # that make them side by side
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew:
    """The node's wall clock is `offset_s` ahead of the machine's (negative: behind), for all of its processes."""

    kind: ClassVar[str] = "clock"
    cuts_control: ClassVar[bool] = False
    offset_s: float


NodeAction = Shape | Cut | Signal | Freeze | Power | CpuQuota | DiskFault | ClockSkew
NODE_ACTIONS: Mapping[str, type[NodeAction]] = {
    a.kind: a for a in (Shape, Cut, Signal, Freeze, Power, CpuQuota, DiskFault, ClockSkew)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackAction:
    """An operation of the stack itself, e.g. `restart`; the stack carries it out and waits for readiness."""

    operation: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "stack"
    cuts_control: ClassVar[bool] = False


Action = NodeAction | StackAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimed:
    """An action and the node that it is done to."""

    subject: str
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number asked and got on one path, with its interval.

    `path` is "hurt" where the effect must be seen and "spared" where it must not.
    """

    name: str  # e.g. "delay etcd2→etcd1"
    unit: str  # "ms", "%", "" …
    asked: float
    got: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    path: str = "hurt"
    proof: Proof = Proof.INCONCLUSIVE
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of an injection at one moment: asked and got."""

    at_ns: int
    phase: str  # "inject" | "confirm" | "watch" | "heal"
    subject: str
    action: str  # the action's kind
    proof: Proof
    detail: str
    measurements: tuple[Measurement, ...] = ()
    effective_ns: int | None = None  # when the effect (or its end) was first seen
    files: tuple[str, ...] = ()  # names under the recording's evidence/ folder


# ---------------------------------------------------------------- an experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Who is hit. `role` is static (member) or found when the step fires (leader, follower).

    `count` nodes of it, or `share` of it (rounded up), or (both None) one. `argument` e.g. the key of `owner-of`.
    `held_by`: the static role whose nodes alone can hold one that is found; "": any server's.
    """

    role: str
    argument: str = ""
    held_by: str = ""
    count: int | None = None
    share: float | None = None
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A fault on a schedule: at_s, lasting for_s; again every_s until until_s."""

    name: str
    at_s: float
    on: Selector
    fault: Fault
    for_s: float = 0.0  # 0: a moment (an operation), healed by itself
    every_s: float | None = None
    until_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStage:
    """Ramp linearly to `share` of the rate over `ramp_s`, then hold it for `hold_s` (None: to the end)."""

    ramp_s: float = 0.0
    share: float = 1.0
    hold_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Peak traffic: what, how much, by whom. Exactly one of rate_per_s and calibrated_share, unless closed_loop."""

    workload: str  # a name in workloads.WORKLOADS
    rate_per_s: float | None = None
    calibrated_share: float | None = None  # of what a short calibration finds; at most 0.6 in shipped experiments
    users: int = 60
    processes: int = 1
    timeout_s: float = 0.5
    closed_loop: bool = False
    stages: tuple[LoadStage, ...] = (LoadStage(ramp_s=2.0),)
    settings: Mapping[str, Any] = field(default_factory=dict)  # the workload's own: keys, mix, pinned_share, …


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """(γ, λ, τ) after StreamShield, arXiv:2602.03189: completeness, latency, recovery time."""

    completeness: str = "exact"  # exact | partial
    latency_s: float | None = None
    recovery_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortWhen:
    """Heal at once and judge as aborted when one of these is seen."""

    error_share: float | None = None  # of operations over the last 5 s
    quorum_lost_s: float | None = None
    free_disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedGate:
    """A gate under the name by which the experiment, the report and pytest call it."""

    name: str
    gate: Gate
    kind: str = ""  # the name in gates.GATES
    expect_fail: str = ""  # why, with the upstream thread; empty: must pass
    stops_run: bool = False  # asked while the run goes on; its first certain FAIL ends the run early
    published: str = ""  # what somebody else has measured, and where it says so: told beside, never judged by
    of: str = ""  # the workload of the load that it judges; "": the experiment's own


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec:
    """Which stack, its own settings, and the versions asked for (component → version or path)."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One YAML file, read and checked. No target: one file serves laptop and staging."""

    name: str
    stack: StackSpec
    load: Load
    duration_s: float
    gates: tuple[NamedGate, ...]
    about: str = ""
    beside: Load | None = None  # a second load, of another workload, at a stated rate
    warm_up_s: float = 3.0  # at full load, before t = 0; belongs to no window
    steps: tuple[Step, ...] = ()
    abort_when: AbortWhen = AbortWhen()
    blast_radius: Mapping[str, float] = field(default_factory=dict)  # role → greatest share hit at once
    slo: Slo | None = None
    seed: int = 1
    path: str = ""
    text: str = ""  # the file as it was read


# ---------------------------------------------------------------- what happened


class EventKind(enum.StrEnum):
    """What the engine did or saw."""

    RUN = "run"  # run began / ended
    PHASE = "phase"  # set-up, load, steady, …, tear-down
    INJECT = "inject"  # a step fired: victims, actions
    CONFIRM = "confirm"  # evidence on an injection
    HEAL = "heal"  # evidence on a heal
    PROCESS = "process"  # a process started, ended
    VERSION = "version"  # what each process says it is
    PROBE = "probe"
    LOAD = "load"  # generator state
    ABORT = "abort"
    NOTE = "note"
    ERROR = "error"  # the harness, not the system under test


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of events.jsonl. `step` and `occurrence` (0, 1, … of a repeated step) tie faults together."""

    at_ns: int
    kind: EventKind
    detail: str = ""
    step: str = ""
    occurrence: int = 0
    node: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A probe's answer. `value` None is "no answer", never a zero, and `why` says why."""

    name: str
    node: str
    at_ns: int
    value: float | None
    why: str = ""
    text: str = ""  # for answers that are not numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A line of a process's log that somebody should read. `number` counts from 1.

    `explained_by`: the kinds of actions that may cause it on the node that they are done to.
    """

    number: int
    line: str
    what: str
    explained_by: tuple[str, ...] = ()
    at_s: float | None = None  # since 1970, by the writer's clock; None: the line does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStatus:
    """What a generator says of itself while it runs; counts are totals since its start."""

    at_ns: int
    running: bool
    rate_per_s: float = 0.0  # of the last second
    p99_s: float | None = None  # of the last second, from intended send
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    dropped: int = 0
    cpu_share: float = 0.0  # of one core, per process (the greatest)
    lag_p99_s: float = 0.0  # send time minus intended time
    offered_per_s: float = 0.0
    why: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)  # of two loads: workload → what its own generators said


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A gate's answer: one sentence, the numbers behind it, where the evidence is."""

    status: Status
    summary: str
    gate: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    certain: bool = False  # FAIL that the evidence proves whatever else the run lacked (an invariant violation)


# ---------------------------------------------------------------- values ⇄ JSON


def to_json(value: Any) -> Any:
    """Return plain JSON data of a value of this module; unions of dataclasses carry their `kind`."""
    if is_dataclass(value) and not isinstance(value, type):
        data = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        kind = getattr(type(value), "kind", None)
        return {"kind": kind, **data} if isinstance(kind, str) else data
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(to_json(v) for v in value)
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    return value


def node_action(data: Mapping[str, Any]) -> NodeAction:
    """Read an action back from `to_json`; KeyError for an unknown kind, TypeError for unknown fields."""
    settings: dict[str, Any] = {k: v for k, v in data.items() if k != "kind"}
    settings |= {k: tuple(v) for k, v in settings.items() if isinstance(v, list)}
    if "direction" in settings:
        settings["direction"] = Direction(settings["direction"])
    if "impairment" in settings:
        shape = dict(settings["impairment"])
        if shape.get("burst") is not None:
            shape["burst"] = Burst(**shape["burst"])
        settings["impairment"] = Impairment(**shape)
    return NODE_ACTIONS[data["kind"]](**settings)
