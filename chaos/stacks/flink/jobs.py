"""The jobs of workloads/jobs, each a text of SQL by name and version, filled in for a place. Pure but for reading them.

    workloads/jobs/keyed-count.v1.sql + ${source}, ${out_sink} … + SET 'parallelism.default' … ─▶ one script

Two versions of a job that are to take over each other's state must have plans of the same shape: Flink finds the state
of a SQL operator by its place in the whole plan.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import workloads
from chaos.errors import UsageError
from chaos.guess import nearest
from chaos.stacks.flink.settings import EARLIEST, EXACTLY_ONCE, OF_THE_JOB, FlinkSettings, JobSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import StackAction

FOLDER = Path(workloads.__file__).parent / "jobs"
FIRST = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a job reads and writes: topics, none for a job that makes its own records. `about` is for messages.

    `tables` names a file of tables and views that stands before each version of it.
    """

    about: str
    tables: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def _nexmark(about: str) -> Kind:
    return Kind(about=about, tables="nexmark.tables", reads=("in",), writes=("out",))


NEXMARK: Mapping[str, str] = {
    "q0": "every event, as it came",
    "q2": "the bids on some auctions",
    "q3": "who sells in some states: a join that keeps all",
    "q5": "the auctions with the most bids, in sliding windows",
    "q7": "the highest bids, in tumbling windows",
    "q8": "who came and sold in one window: a join of windows",
    "q12": "bids of everybody, in windows of processing time",
}
JOBS: Mapping[str, Kind] = MappingProxyType(
    {
        "keyed-count": Kind(
            about="running count a key, and a count a second",
            tables="keyed-count.tables",
            reads=("in",),
            writes=("out", "win"),
        ),
        "spread": Kind(
            about="every record again, dealt out to whoever is free",
            tables="keyed-count.tables",
            reads=("in",),
            writes=("out",),
        ),
        **{f"nexmark-{query}": _nexmark(about) for query, about in NEXMARK.items()},
        "numbers": Kind(about="counts numbers that it makes itself; needs no Kafka"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One way to submit a job: its version, the savepoint that it begins with, what replaces its settings."""

    version: str = FIRST
    savepoint: str = ""
    settings: JobSettings = field(default_factory=JobSettings)


def kind(name: str) -> Kind:
    """Return what a job reads and writes; UsageError for one that there is not."""
    if name in JOBS:
        return JOBS[name]
    near = nearest(name, JOBS)
    hint = f"did you mean '{near}'? There" if near else "there"
    raise UsageError(f"job {name}: no such job; {hint} are {', '.join(JOBS)}")


def versions(name: str) -> tuple[str, ...]:
    """Return the versions of a job, oldest first."""
    kind(name)
    return tuple(sorted(path.name.split(".")[1] for path in FOLDER.glob(f"{name}.v*.sql")))


def check(name: str, version: str) -> None:
    """Raise UsageError for a job, or a version of it, that there is not."""
    if version not in (there := versions(name)):
        raise UsageError(f"job {name} {version}: no such version; there are {', '.join(there)}")


def refuses(settings: Mapping[str, Any], action: StackAction, default: str = "numbers") -> str:
    """Return why an operation can't be carried out with these settings; "" if it can."""
    job = FlinkSettings.of(settings).job
    if action.operation in OF_THE_JOB and job.copies > 1:
        return f"of which of the job's {job.copies} copies? It is an operation of one job; write copies: 1"
    if action.operation == "savepoint-upgrade" and action.arguments["to"] not in versions(job.name or default):
        there = ", ".join(versions(job.name or default))
        return f"job {job.name or default} has no version {action.arguments['to']}; there are {there}"
    return ""


def path(name: str, version: str) -> Path:
    """Return the file of one version."""
    check(name, version)
    return FOLDER / f"{name}.{version}.sql"


def suffix(copy: int) -> str:
    """Return what the names of a copy's topics, group and transactions end in; the first one's bear none."""
    return "" if copy == 1 else f"-{copy}"


def topics(name: str, copies: int) -> tuple[str, ...]:
    """Return every topic that so many copies of a job read and write."""
    there = kind(name)
    return (*there.reads, *(topic + suffix(copy) for copy in range(1, copies + 1) for topic in there.writes))


def script(name: str, submission: Submission, brokers: Sequence[str], copy: int = 1) -> str:
    """Return the whole script that submits a job; `brokers` are host:port, `copy` counts from 1.

    The parallelism is set here because what config.yaml says does not reach the plan of a script.
    """
    asked = submission.settings
    text = string.Template(_text(name, submission.version))
    options = {
        "pipeline.name": name + suffix(copy),
        "parallelism.default": str(asked.parallelism),
        "table.exec.resource.default-parallelism": str(asked.parallelism),
        "table.local-time-zone": "UTC",
        **_from(submission),
    }
    sets = "".join(f"SET '{key}' = '{_quoted(value)}';\n" for key, value in options.items())
    return sets + text.substitute(
        lateness_s=f"{asked.lateness_s:.3f}",
        copy=suffix(copy),
        source=_options(_source(name + suffix(copy), asked, brokers)),
        out_sink=_options(_sink(name + suffix(copy), "out", asked, brokers)),
        win_sink=_options(_sink(name + suffix(copy), "win", asked, brokers)),
    )


def _text(name: str, version: str) -> str:
    tables = kind(name).tables
    files = [FOLDER / f"{tables}.sql"] if tables else []
    return "\n".join(_bare(file.read_text(encoding="utf-8")) for file in [*files, path(name, version)])


def _bare(text: str) -> str:
    """Leave out whole lines of comment: what splits a script into statements may stumble over their quotes."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("--"))


def _from(submission: Submission) -> dict[str, str]:
    if not submission.savepoint:
        return {}
    kept = {} if submission.settings.keep_state else {"execution.state-recovery.ignore-unclaimed-state": "true"}
    return {"execution.state-recovery.path": submission.savepoint, **kept}


def _kafka(brokers: Sequence[str]) -> dict[str, str]:
    """Return what every table on Kafka has in common: a client that is back soon after brokers are."""
    return {
        "connector": "kafka",
        "properties.bootstrap.servers": ",".join(brokers),
        "properties.reconnect.backoff.max.ms": "200",
        "properties.retry.backoff.ms": "50",
        "properties.request.timeout.ms": "5000",
        "properties.metadata.max.age.ms": "5000",
    }


def _source(name: str, asked: JobSettings, brokers: Sequence[str]) -> dict[str, str]:
    """Return the options of the input; `name` is its reader's group."""
    return {
        **_kafka(brokers),
        "properties.group.id": name,
        "properties.fetch.min.bytes": "65536",
        "properties.fetch.max.wait.ms": "50",
        "scan.startup.mode": "earliest-offset" if asked.start == EARLIEST else "latest-offset",
    }


def _sink(name: str, topic: str, asked: JobSettings, brokers: Sequence[str]) -> dict[str, str]:
    """Return the options of one sink; a prefix of its own, because two sinks of one would fence each other off."""
    options = {**_kafka(brokers), "properties.linger.ms": "50", "sink.delivery-guarantee": asked.guarantee}
    if asked.guarantee == EXACTLY_ONCE:
        options["sink.transactional-id-prefix"] = f"{name}-{topic}"  # the same after an upgrade: it ends what was open
        options["properties.transaction.timeout.ms"] = str(round(asked.transaction_timeout_s * 1000))
    return options


def _options(options: Mapping[str, str]) -> str:
    return ",\n  ".join(f"'{key}' = '{_quoted(value)}'" for key, value in options.items())


def _quoted(value: str) -> str:
    return value.replace("'", "''")
