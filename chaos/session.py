"""From experiment files to one decision: refuse what can't run, run each, judge each, write each report.

files ─▶ check all (nothing touched) ─▶ run ─▶ judge ─▶ report   (each in its own recording)
                                         └── dirty? nothing else runs there
                                                         ╰▶ one table, one decision, one exit code
"""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos import __version__
from chaos.agent.points import announce
from chaos.aiming import Aim
from chaos.clock import MonotonicClock
from chaos.engine import Engine
from chaos.environment import of_children
from chaos.errors import ChaosgateError, DirtyError, HarnessError, RecordingError
from chaos.model import Decision, Event, EventKind
from chaos.options import Options, with_options
from chaos.plan import plan
from chaos.ports import ComparesReplicas, HasProbes
from chaos.preflight import wants_of
from chaos.recording import Recorder, Recording
from chaos.stacks import STACKS
from chaos.stage import Flags, Progress, Stage
from chaos.streams import read_events
from chaos.targets import TARGETS
from chaos.traffic import Traffic
from gates.judge import Judgement, judge, worst, write_verdict
from reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Experiment, Reading
    from chaos.ports import Probe, Stack, Target

UNSAFE = re.compile(r"[^A-Za-z0-9._=,\[\]-]+")  # a version in a cell's name may be a path
MANY_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run: where its recording is, and what was judged. `error` is the harness's trouble, if any."""

    experiment: Experiment
    folder: Path | None
    judgement: Judgement | None
    error: ChaosgateError | None = None

    @property
    def exit_code(self) -> int:
        """The worse of the verdict's code and the error's."""
        codes = [self.judgement.exit_code] if self.judgement else []
        if self.error is not None:
            codes.append(self.error.exit_code)
        return worst(codes)


# ---------------------------------------------------------------- one run


def run_one(
    experiment: Experiment, options: Options, *, flags: Flags, traffic: Traffic, watch: Callable[[Progress], None]
) -> RunResult:
    """Run, judge and report one experiment; trouble of the harness is in the result, the verdict is written anyway."""
    experiment = with_options(experiment, options)
    announce("recording.begin")
    try:
        folder = new_folder(options.runs, experiment.name)
    except RecordingError as error:
        return RunResult(experiment=experiment, folder=None, judgement=None, error=error)
    trouble: ChaosgateError | None = None
    with Recorder(folder) as recorder:
        recorder.run(**facts_of(experiment, options, folder))
        (folder / "experiment.yaml").write_text(experiment.text, encoding="utf-8")
        for note in options.notes:
            recorder.event(Event(at_ns=time.monotonic_ns(), kind=EventKind.NOTE, detail=note))
        try:
            _carry_out(experiment, options, recorder, flags=flags, traffic=traffic, watch=watch)
        except ChaosgateError as error:
            trouble = error
            _record_trouble(recorder, error)
        with suppress(RecordingError):  # a full disk has been told of, here and below
            recorder.run(torn_down=True)
        with suppress(RecordingError):
            recorder.close()
    with suppress(OSError):  # whoever watched may be gone (a closed pipe); the verdict is written anyway
        watch(Progress(experiment=experiment.name, phase="judging"))
    announce("recording.judge")
    judgement, unjudged = _judged(folder)
    return RunResult(experiment=experiment, folder=folder, judgement=judgement, error=trouble or unjudged)


def _judged(folder: Path) -> tuple[Judgement | None, HarnessError | None]:
    """Judge and draw; trouble with one recording takes neither its own verdict along nor those of its set."""
    judgement = None
    try:
        recording = Recording.open(folder)
        judgement = judge(recording, recording.experiment.gates)
        write_verdict(folder, judgement)
        _draw(recording, judgement, folder / "report.html")
    except Exception as error:  # noqa: BLE001  # a report may be a stranger's, and a recording torn in ways not thought of
        said = str(error) if isinstance(error, ChaosgateError) else f"{type(error).__name__}: {error}"
        what = "can't be judged" if judgement is None else "judged, but the verdict or its report can't be written"
        trouble = HarnessError(f"{folder}: {what}: {said}; see `chaosgate judge {folder}`")
        trouble.__cause__ = error
        return judgement, trouble
    return judgement, None


def _record_trouble(recorder: Recorder, error: ChaosgateError) -> None:
    """Write an error of the target's opening or closing into the recording; the engine has written its own."""
    events, _ = read_events(recorder.folder / "events.jsonl")
    if any(event.kind is EventKind.ERROR and event.detail in str(error) for event in events):
        return
    with suppress(RecordingError):  # a full disk: it is said on the console, and the recording has no end
        recorder.event(Event(at_ns=time.monotonic_ns(), kind=EventKind.ERROR, detail=str(error)))


def _carry_out(
    experiment: Experiment,
    options: Options,
    recorder: Recorder,
    *,
    flags: Flags,
    traffic: Traffic,
    watch: Callable[[Progress], None],
) -> None:
    folder, clock = recorder.folder, MonotonicClock()
    stack = STACKS[experiment.stack.name](experiment)
    wants = wants_of(experiment, stack)
    opening = TARGETS[options.target].open(stack.nodes(), wants=wants, evidence=folder / "evidence")
    with opening as target, waking(flags, clock):
        recorder.run(target=dict(target.describe()), topology=target.topology())
        source = traffic.source(experiment, stack, target, recorder)
        stage = Stage(
            target=target,
            stack=stack,
            traffic=source,
            recorder=recorder,
            clock=clock,
            folder=folder,
            probes=probes_of(stack, target),
            compare_replicas=comparison(stack),
        )
        timeline = plan(experiment, target.topology())
        aim = Aim(seed=experiment.seed, recorded=options.recorded)
        with closing(source):
            Engine(experiment, timeline, stage, flags=flags, aim=aim, watch=watch).run()


def judge_folder(folder: Path, gates_of: Experiment | None = None, *, beside: str = "") -> Judgement:
    """Judge a recording (again), by its own gates or another file's; write verdict.json and report.html.

    `beside` (e.g. "-strict") goes into the names of both, so that other gates leave the recorded verdict alone.
    """
    recording = Recording.open(folder)
    judgement = judge(recording, (gates_of or recording.experiment).gates)
    write_verdict(folder, judgement, name=f"verdict{beside}.json")
    _draw(recording, judgement, folder / f"report{beside}.html")
    return judgement


def _draw(recording: Recording, judgement: Judgement, page: Path) -> None:
    page.write_text(REPORTS["html"](recording, judgement), encoding="utf-8")


def probes_of(stack: Stack, target: Target) -> Mapping[str, tuple[Probe, float]]:
    """Return the stack's probes, if it has any."""
    return stack.probes(target) if isinstance(stack, HasProbes) else {}


def comparison(stack: Stack) -> Callable[[], Sequence[Reading]] | None:
    """Return the quiet comparison of the stack's replicas; None if it has none."""
    return stack.compare_replicas if isinstance(stack, ComparesReplicas) else None


# ---------------------------------------------------------------- folders and facts


def new_folder(runs: Path, name: str) -> Path:
    """Make the folder of a new run: `<utc>-<experiment>-<id>`; RecordingError if it can't be made."""
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = runs / f"{stamp}-{UNSAFE.sub('_', name)}-{secrets.token_hex(3)}"
    try:
        for part in ("samples", "logs", "evidence"):
            (folder / part).mkdir(parents=True)
    except OSError as error:
        why = f"{folder}: can't be made: {error.strerror}; give a --runs folder that you may write to"
        raise RecordingError(why) from error
    return folder


def facts_of(experiment: Experiment, options: Options, folder: Path) -> dict[str, Any]:
    """Return what run.json says before anything has happened."""
    return {
        "id": folder.name,
        "experiment": experiment.name,
        "stack": experiment.stack.name,
        "path": experiment.path,
        "seed": experiment.seed,
        "versions_asked": dict(experiment.stack.versions),
        "versions_given": dict(options.versions),  # by hand, beside what the file says
        "target_name": options.target,
        "chaosgate": __version__,
        "git_sha": git_sha(),
        "started_utc": datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
        "started_ns": time.monotonic_ns(),
        "torn_down": False,  # until the target is gone
        "replay_of": options.replay.name if options.replay else "",
        "replay_from": str(options.replay or ""),
    }


def git_sha() -> str:
    """Return the commit of the working folder, with "-dirty" if it has changes; empty outside a repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
        env=of_children(),
    )
    return done.stdout.strip() if done.returncode == 0 else ""


# ---------------------------------------------------------------- a set


def run_set(
    experiments: Sequence[Experiment],
    options: Options,
    *,
    flags: Flags,
    watch: Callable[[Progress], None],
    done: Callable[[RunResult], None] = lambda _: None,
) -> list[RunResult]:
    """Run one after the other; after an interruption or on a dirty target nothing else is run (and so not promoted).

    After a run that can't tell, the next one calibrates anew: the machine may be slower than when it was measured.
    """
    results: list[RunResult] = []
    traffic = Traffic()
    for experiment in experiments:
        if flags.interrupted:
            break
        result = run_one(experiment, options, flags=flags, traffic=traffic, watch=watch)
        results.append(result)
        done(result)
        if isinstance(result.error, DirtyError):
            break
        if result.judgement is None or result.judgement.decision is Decision.CANNOT_TELL:
            traffic.forget()
    return results


def interrupt(flags: Flags, why: str) -> None:
    """End the run in order, as soon as the deciding thread looks up; the first reason is the one that is told."""
    flags.interrupted = flags.interrupted or why
    for wake in flags.wakers:
        wake()


@contextmanager
def listening(flags: Flags) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into a flag; the handlers raise nothing."""

    def note(number: int, _: object) -> None:
        interrupt(flags, signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in MANY_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def waking(flags: Flags, clock: MonotonicClock) -> Iterator[None]:
    """Let a signal end this clock's sleeps."""
    flags.wakers.append(clock.wake)
    try:
        yield
    finally:
        flags.wakers.remove(clock.wake)
