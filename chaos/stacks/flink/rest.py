"""Flink's REST API, as typed answers; and asking the JobManagers in turn until one answers.

    jobs, job, subtasks, checkpoints …  ──GET──▶  any JobManager, which asks the leader
    run, stop, cancel, rescale          ──POST, PATCH, PUT──▶  once, to one of them: what is asked is done at most once

A refusal carries a Java stack trace of several causes: the last "Caused by" is the one that says what is wrong.
API: https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/ops/rest_api/
"""

from __future__ import annotations

import json
import ssl
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from chaos.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Answer = TypeVar("Answer")

_NO_KEEP_ALIVE = httpx.Limits(max_keepalive_connections=0)  # a kept connection may die under a request
SQL_DRIVER = "org.apache.flink.table.runtime.application.SqlDriver"
RUNNING = "RUNNING"
_IN_METRICS = str.maketrans(" .:,", "____")
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})


class RestError(StackError):
    """A JobManager refused, or did not answer (`status` 0)."""

    def __init__(self, message: str, *, status: int = 0, address: str = "") -> None:
        self.status = status
        self.message = message
        super().__init__(f"{address}: {message}" if address else message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The cluster as a whole."""

    taskmanagers: int
    slots: int
    slots_free: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """One line of the list of jobs."""

    id: str
    name: str
    state: str
    began_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """A chain of operators. Records are counted between vertices, over the current attempts of its subtasks."""

    id: str
    name: str
    parallelism: int
    status: str
    records_in: int
    records_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job: its state, since when, and its vertices. `since_ms`: state → the last time that it was entered."""

    id: str
    name: str
    state: str
    vertices: tuple[Vertex, ...]
    since_ms: Mapping[str, int]

    @property
    def runs(self) -> bool:
        """Whether it and every vertex of it is RUNNING: the state alone comes before its tasks do."""
        return self.state == RUNNING and bool(self.vertices) and all(v.status == RUNNING for v in self.vertices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtask:
    """One parallel instance of a vertex, and the TaskManager that it was deployed to ("": none yet)."""

    number: int
    status: str
    attempt: int
    taskmanager: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Counts since the job began on this JobManager (a new leader counts from 0), and the newest that completed."""

    completed: int
    failed: int
    restored: int
    in_progress: int
    newest_s: float | None = None  # how long it took, from trigger to the last acknowledgement
    newest_id: int | None = None
    restored_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Shares of time, over the subtasks of a vertex: on average busy, on average held up by whom they feed."""

    busy: float
    backpressured: float


class FlinkRest:
    """One JobManager's API at `address` (host:port), as a context manager; `timeout_s` bounds each request's waits.

    Every method raises RestError when refused or unanswered.
    """

    def __init__(self, address: str, *, timeout_s: float) -> None:
        self.address = address
        # Our own context: httpx would load the system's authorities, 20 ms, for plain HTTP.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(
            base_url=f"http://{address}", timeout=timeout_s, verify=context, limits=_NO_KEEP_ALIVE, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; idempotent."""
        self._http.close()

    # ------------------------------------------------------------ the cluster

    def version(self) -> str:
        """Return the version that this very JobManager is of; the one answer that does not come from the leader."""
        return str(self._get("/config")["flink-version"])

    def overview(self) -> Overview:
        """Return the cluster's TaskManagers and slots."""
        said = self._get("/overview")
        return Overview(
            taskmanagers=said["taskmanagers"],
            slots=said["slots-total"],
            slots_free=said["slots-available"],
            version=said["flink-version"],
        )

    def taskmanagers(self) -> tuple[str, ...]:
        """Return the ids of the TaskManagers that are registered."""
        return tuple(said["id"] for said in self._get("/taskmanagers")["taskmanagers"])

    # ------------------------------------------------------------ jobs, looked at

    def jobs(self) -> tuple[JobSummary, ...]:
        """Return all jobs that the cluster remembers, ended ones included."""
        return tuple(
            JobSummary(id=said["jid"], name=said["name"], state=said["state"], began_ms=said["start-time"])
            for said in self._get("/jobs/overview")["jobs"]
        )

    def job(self, job: str) -> Job:
        """Return one job."""
        said = self._get(f"/jobs/{job}")
        return Job(
            id=said["jid"],
            name=said["name"],
            state=said["state"],
            vertices=tuple(map(_vertex, said["vertices"])),
            since_ms={state: at for state, at in said["timestamps"].items() if at > 0},
        )

    def subtasks(self, job: str, vertex: str) -> tuple[Subtask, ...]:
        """Return where a vertex's subtasks run."""
        return tuple(map(_subtask, self._get(f"/jobs/{job}/vertices/{vertex}")["subtasks"]))

    def checkpoints(self, job: str) -> Checkpoints:
        """Return how its checkpoints went."""
        return _checkpoints(self._get(f"/jobs/{job}/checkpoints"))

    def metrics(self, job: str, names: Sequence[str]) -> Mapping[str, float]:
        """Return those of the job's numbers that there are. The first answer may be 0 or -1: ask twice."""
        said = self._get(f"/jobs/{job}/metrics", get=",".join(names))
        return {one["id"]: float(one["value"]) for one in said}

    def busy(self, job: str, vertex: str) -> Busy | None:
        """Return how busy a vertex is; None while its tasks have told of nothing yet."""
        wanted = ("busyTimeMsPerSecond", "backPressuredTimeMsPerSecond")
        said = self._get(f"/jobs/{job}/vertices/{vertex}/subtasks/metrics", get=",".join(wanted), agg="avg")
        shares = {one["id"]: float(one["avg"]) / 1000 for one in said if one.get("avg") not in (None, "NaN")}
        if len(shares) < len(wanted):
            return None
        return Busy(busy=shares[wanted[0]], backpressured=shares[wanted[1]])

    def pending(self, job: str, vertex: Vertex) -> float | None:
        """Return how many records a source has yet to fetch; None of a vertex that is none, or has told of nothing.

        Operators are named here without what would separate names (MetricQueryService.replaceInvalidChars).
        """
        operator = vertex.name.split(" -> ")[0]
        if not operator.startswith("Source: "):
            return None
        wanted = f"{operator.translate(_IN_METRICS)}.pendingRecords"
        said = self._get(f"/jobs/{job}/vertices/{vertex.id}/subtasks/metrics", get=wanted, agg="sum")
        return next((float(one["sum"]) for one in said if one.get("sum") not in (None, "NaN")), None)

    def failures(self, job: str, newest: int = 3) -> tuple[str, ...]:
        """Return the last causes of a job's newest failures, newest first."""
        said = self._get(f"/jobs/{job}/exceptions", maxExceptions=str(newest))
        return tuple(cause(entry["stacktrace"]) for entry in said["exceptionHistory"]["entries"])

    # ------------------------------------------------------------ jobs, changed

    def upload(self, jar: Path) -> str:
        """Put a jar on this JobManager; return its id there. Another one has not got it."""
        with jar.open("rb") as file:
            said = self._ask("POST", "/jars/upload", files={"jarfile": (jar.name, file, "application/x-java-archive")})
        return str(said["filename"]).rpartition("/")[2]

    def run_sql(self, jar: str, script: str) -> str:
        """Run a SQL script by the driver in an uploaded jar; return the id of the job that it submitted.

        Planning happens in this JobManager: seconds for the first script, less for later ones.
        """
        wanted = {"entryClass": SQL_DRIVER, "programArgsList": ["--script", script]}
        return str(self._ask("POST", f"/jars/{jar}/run", json=wanted)["jobid"])

    def plan_sql(self, jar: str, script: str) -> None:
        """Plan a SQL script as `run_sql` does, and submit nothing; RestError if it can't be planned."""
        wanted = {"entryClass": SQL_DRIVER, "programArgsList": ["--script", script]}
        self._ask("POST", f"/jars/{jar}/plan", json=wanted)

    def stop(self, job: str, folder: str) -> str:
        """Ask for a savepoint below `folder` (a URI) and the job's end after it; return the request's id."""
        wanted = {"drain": False, "targetDirectory": folder}
        return str(self._ask("POST", f"/jobs/{job}/stop", json=wanted)["request-id"])

    def savepoint(self, job: str, request: str) -> str:
        """Return where the savepoint lies, "" while it is being made; RestError if it failed."""
        said = self._get(f"/jobs/{job}/savepoints/{request}")
        done = said.get("operation") or {}
        if failure := done.get("failure-cause"):
            raise RestError(f"the savepoint failed: {cause(str(failure.get('stack-trace', failure)))}")
        return str(done.get("location", "")) if said["status"]["id"] == "COMPLETED" else ""

    def cancel(self, job: str) -> None:
        """Ask for the job's end, without a savepoint."""
        self._ask("PATCH", f"/jobs/{job}", params={"mode": "cancel"})

    def rescale(self, job: str, parallelism: Mapping[str, int]) -> None:
        """Ask for vertex → parallelism; RestError with any scheduler but the adaptive one."""
        bounds = {v: {"parallelism": {"lowerBound": 1, "upperBound": upper}} for v, upper in parallelism.items()}
        self._ask("PUT", f"/jobs/{job}/resource-requirements", json=bounds)

    # ------------------------------------------------------------ asking

    def _get(self, path: str, **params: str) -> Any:
        return self._ask("GET", path, params=params)

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            said = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise RestError(f"{method} {path}: {error or type(error).__name__}", address=self.address) from error
        if said.is_error:
            why = refusal(said.text) or f"HTTP {said.status_code}"
            raise RestError(f"{method} {path}: {why}", status=said.status_code, address=self.address)
        try:
            return said.json() if said.content else {}
        except ValueError as error:
            raise RestError(f"{method} {path}: no JSON: {said.text[:80]!r}", address=self.address) from error


# ---------------------------------------------------------------- reading


def _vertex(said: Mapping[str, Any]) -> Vertex:
    return Vertex(
        id=said["id"],
        name=said["name"],
        parallelism=said["parallelism"],
        status=said["status"],
        records_in=said["metrics"]["read-records"],
        records_out=said["metrics"]["write-records"],
    )


def _subtask(said: Mapping[str, Any]) -> Subtask:
    taskmanager = str(said.get("taskmanager-id", ""))
    return Subtask(
        number=said["subtask"],
        status=said["status"],
        attempt=said["attempt"],
        taskmanager="" if taskmanager.startswith("(") else taskmanager,  # "(unassigned)"
    )


def _checkpoints(said: Mapping[str, Any]) -> Checkpoints:
    counts, latest = said["counts"], said["latest"]
    newest, restored = latest.get("completed") or {}, latest.get("restored") or {}
    took_ms = newest.get("end_to_end_duration")
    return Checkpoints(
        completed=counts["completed"],
        failed=counts["failed"],
        restored=counts["restored"],
        in_progress=counts["in_progress"],
        newest_s=None if took_ms is None else took_ms / 1000,
        newest_id=newest.get("id"),
        restored_id=restored.get("id"),
    )


def refusal(text: str) -> str:
    """Return what an answer with an error says is wrong: the last cause of the last of its errors."""
    try:
        errors = json.loads(text).get("errors", [])
    except (ValueError, AttributeError):
        return text.strip()[:200]
    told = [str(error) for error in errors if str(error).strip()]
    return cause(told[-1]) if told else ""


def cause(trace: str) -> str:
    """Return the first line of a stack trace's last "Caused by", or of the trace; without the exception's package."""
    last = trace.replace("\\n", "\n").rpartition("Caused by: ")[2].strip()
    line = last.partition("\n")[0].strip()
    kind, colon, message = line.partition(": ")
    if colon and " " not in kind:
        return f"{kind.rpartition('.')[2]}: {message}"
    return line.rpartition(".")[2] if " " not in line else line


# ---------------------------------------------------------------- several JobManagers


@dataclass(frozen=True, slots=True, kw_only=True)
class JobManagers:
    """The JobManagers of a cluster and how to reach them: node → host:port.

    `entered` makes the calling thread's sockets belong to a network from which they are reachable.
    """

    endpoints: Mapping[str, str]
    entered: Callable[[], AbstractContextManager[object]] = nullcontext

    def ask_one(self, node: str, question: Callable[[FlinkRest], Answer], timeout_s: float) -> Answer:
        """Ask one of them; RestError if it refuses or does not answer."""
        with self.entered(), FlinkRest(self.endpoints[node], timeout_s=timeout_s) as rest:
            return question(rest)

    def ask(self, question: Callable[[FlinkRest], Answer], timeout_s: float) -> Answer:
        """Ask them in turn, each within its share of `timeout_s`; RestError of the last if none answers.

        For questions, and not for changes: one that answered too late has been asked all the same. A standby passes
        questions on to the leader; one that has lost it refuses with 500 or 503, and so the next one is asked.
        """
        refused = RestError("no JobManager")
        for node in self.endpoints:
            try:
                return self.ask_one(node, question, timeout_s / len(self.endpoints))
            except RestError as error:
                refused = error
        raise refused
