"""From files to one decision, on a target in memory: each run recorded and judged, whatever went wrong."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

import chaos.engine
from chaos import session
from chaos.clock import MonotonicClock, ns
from chaos.errors import DirtyError, HarnessError, StackError, TargetError
from chaos.faults.replace import Replace
from chaos.model import Decision, EventKind, StackSpec
from chaos.options import Options, with_options
from chaos.recording import Recording
from chaos.session import RunResult, listening, new_folder, run_one, run_set, waking
from chaos.spec import load_text
from chaos.stacks import STACKS, StackKind
from chaos.stage import Flags
from chaos.targets import TARGETS, TargetKind
from chaos.targets.memory import MemoryTarget, Told, by_kind
from gates.judge import read_verdict
from reports import REPORTS
from tests.staged import ToldStack, ToldTraffic, experiment, step

TEXT = """\
chaosgate: 1
name: {name}
stack: memory
load: {{kv: {{keys: 10}}, rate: 100/s, shape: [{{ramp: 0s, to: 100%}}]}}
warm-up: 0s
duration: 1500ms
steps:
  - {{name: kill, at: 100ms, for: 500ms, on: member, fault: kill}}
gates:
  - no-unexpected-exit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """The stack in memory has none."""


class Fast(MonotonicClock):
    """The machine's clock, twenty times as fast."""

    def now_ns(self):
        return 20 * super().now_ns()

    def sleep_until(self, at_ns):
        return super().sleep_until(at_ns // 20)


class Closing(ToldTraffic):
    """Traffic that notes that it was closed."""

    def close(self):
        self.closed = True


class World:
    """What the tables hold during a test, and what was made of it."""

    def __init__(self):
        self.told = by_kind()
        self.stack = ToldStack()
        self.open_raises = None
        self.spoils = {}  # name of an experiment → what is done to the folder of its recording
        self.targets, self.traffics, self.asked = [], [], []
        self.forgotten = 0

    @contextmanager
    def open(self, nodes, *, wants, evidence):
        self.asked.append((tuple(nodes), wants.cpu, evidence))
        if self.open_raises:
            raise self.open_raises
        self.targets.append(MemoryTarget(nodes, told=self.told, clock=Fast()))
        yield self.targets[-1]

    def source(self, experiment, stack, target, recorder):
        self.spoils.get(experiment.name, lambda _: None)(recorder.folder)
        self.traffics.append(Closing(Fast()))
        return self.traffics[-1]

    def forget(self):
        self.forgotten += 1


@pytest.fixture
def world(monkeypatch):
    made = World()
    kind = StackKind(settings_type=NoSettings, roles=("member",), operations=("restart",), make=lambda _: made.stack)
    monkeypatch.setitem(STACKS, "memory", kind)
    monkeypatch.setitem(TARGETS, "memory", TargetKind(open=made.open, backend=lambda action: "memory"))
    monkeypatch.setattr(session, "Traffic", lambda: made)
    monkeypatch.setattr(session, "MonotonicClock", Fast)
    monkeypatch.setattr(chaos.engine, "HEAL_TIMEOUT_S", 0.3)
    return made


def read(name="staged"):
    return load_text(TEXT.format(name=name), f"{name}.yaml")


def ran(world, tmp_path, flags=None, **options) -> RunResult:
    asked = Options(target="memory", runs=tmp_path, **options)
    return run_one(read(), asked, flags=flags or Flags(), traffic=world, watch=lambda _: None)


def test_a_run_is_recorded_judged_and_reported(world, tmp_path):
    result = ran(world, tmp_path)
    assert result.error is None
    assert {path.name for path in result.folder.iterdir()} >= {
        "experiment.yaml",
        "run.json",
        "events.jsonl",
        "verdict.json",
        "report.html",
    }
    assert result.judgement.experiment == "staged"
    assert world.traffics[0].closed
    assert world.targets[0].in_force == []


def test_a_run_without_samples_never_promotes(world, tmp_path):
    result = ran(world, tmp_path)
    assert result.judgement.decision is Decision.CANNOT_TELL
    assert result.exit_code == 11


def test_facts_of_the_run_are_in_run_json(world, tmp_path):
    result = ran(world, tmp_path, seed=7, versions={"memory": "2.0"})
    facts = Recording.open(result.folder).run
    assert facts["seed"] == 7
    assert facts["stack"] == "memory"
    assert facts["versions_asked"] == {"memory": "2.0"}
    assert facts["target"] == {"target": "memory", "real": False}
    assert [node["name"] for node in facts["topology"]["nodes"]] == ["n1", "n2", "n3", "client1"]


def test_a_target_is_opened_with_the_nodes_that_the_stack_wants(world, tmp_path):
    result = ran(world, tmp_path)
    ((nodes, cpu, evidence),) = world.asked
    assert [node.name for node in nodes] == ["n1", "n2", "n3", "client1"]
    assert cpu == {}
    assert evidence == result.folder / "evidence"


def test_a_target_that_does_not_open_is_trouble_with_a_verdict(world, tmp_path):
    world.open_raises = TargetError("no namespaces here")
    result = ran(world, tmp_path)
    assert isinstance(result.error, TargetError)
    assert result.exit_code == 12
    assert (result.folder / "verdict.json").exists()


def test_a_stack_that_does_not_come_up_is_trouble_with_a_verdict(world, tmp_path):
    world.stack.up_raises = StackError("n1 is not ready")
    result = ran(world, tmp_path)
    assert result.exit_code == 12
    assert "n1 is not ready" in result.judgement.sentence


def test_dirt_is_exit_code_13(world, tmp_path):
    world.told = by_kind(signal=Told(heal_fails="stuck"))
    result = ran(world, tmp_path)
    assert isinstance(result.error, DirtyError)
    assert result.exit_code == result.judgement.exit_code == 13


def test_a_watcher_that_is_gone_still_gets_a_verdict(world, tmp_path):
    def gone(_):
        raise BrokenPipeError

    result = run_one(read(), Options(target="memory", runs=tmp_path), flags=Flags(), traffic=world, watch=gone)
    assert (result.folder / "verdict.json").exists()
    assert result.judgement.decision is Decision.CANNOT_TELL


def test_an_interrupted_run_is_healed_and_can_not_tell(world, tmp_path):
    flags = Flags()

    def interrupt(progress):
        if progress.in_force:
            flags.interrupted = "SIGTERM"

    result = run_one(read(), Options(target="memory", runs=tmp_path), flags=flags, traffic=world, watch=interrupt)
    assert world.targets[0].in_force == []
    assert result.judgement.decision is Decision.CANNOT_TELL
    assert Recording.open(result.folder).events[-1].detail == "interrupted"


def test_an_interruption_of_the_set_up_is_nobody_s_trouble(world, tmp_path):
    flags, world.stack.up_waits = Flags(), True

    def interrupt(progress):
        flags.interrupted = "SIGINT"

    result = run_one(read(), Options(target="memory", runs=tmp_path), flags=flags, traffic=world, watch=interrupt)
    world.stack.released.set()
    assert result.error is None
    assert result.exit_code == 11
    assert result.judgement.why == "validity: the run was interrupted by SIGINT during set-up"


def test_a_replay_repeats_the_recorded_victims(world, tmp_path):
    victims = {("kill", 0): ("n3",)}
    result = ran(world, tmp_path, recorded=victims)
    (inject,) = [e for e in Recording.open(result.folder).events if e.kind is EventKind.INJECT]
    assert inject.data["victims"] == ["n3"]


# ---------------------------------------------------------------- sets


def ran_set(tmp_path, *names, flags=None, done=lambda _: None):
    asked = Options(target="memory", runs=tmp_path)
    experiments = [read(name) for name in names]
    return run_set(experiments, asked, flags=flags or Flags(), watch=lambda _: None, done=done)


def test_a_set_runs_one_after_the_other(world, tmp_path):
    said = []
    results = ran_set(tmp_path, "one", "two", done=said.append)
    assert [result.experiment.name for result in results] == ["one", "two"]
    assert said == results
    assert len(world.targets) == 2


def test_a_set_stops_on_a_dirty_target(world, tmp_path):
    world.told = by_kind(signal=Told(heal_fails="stuck"))
    assert [result.experiment.name for result in ran_set(tmp_path, "one", "two")] == ["one"]


def test_a_set_goes_on_after_other_trouble(world, tmp_path):
    world.open_raises = TargetError("no namespaces here")
    assert len(ran_set(tmp_path, "one", "two")) == 2


def torn_experiment(folder):
    (folder / "experiment.yaml").write_text("chaosgate: 1\nname: to")


def test_after_a_run_that_can_not_tell_the_next_one_calibrates_anew(world, tmp_path, monkeypatch):
    results = ran_set(tmp_path, "one", "two")
    assert [result.judgement.decision for result in results] == [Decision.CANNOT_TELL] * 2
    assert world.forgotten == 2
    told = run_one(read(), Options(target="memory", runs=tmp_path), flags=Flags(), traffic=world, watch=lambda _: None)
    sound = replace(told, judgement=replace(told.judgement, decision=Decision.PROMOTE))
    monkeypatch.setattr(session, "run_one", lambda *_, **__: sound)
    ran_set(tmp_path, "three")
    assert world.forgotten == 2


def foreign_samples(folder):
    """A table of something else: what nobody can draw."""
    with pa.ipc.new_stream(folder / "samples/kv-0.arrow", pa.schema([("x", pa.int8())])):
        pass


def test_a_recording_that_can_not_be_judged_takes_no_other_s_verdict_along(world, tmp_path):
    world.spoils["one"] = torn_experiment
    one, two = ran_set(tmp_path, "one", "two")
    assert one.judgement is None
    assert one.exit_code == 12
    assert f"{one.folder}: can't be judged: " in str(one.error)
    assert "experiment.yaml:" in str(one.error)
    assert two.judgement.experiment == "two"
    assert (two.folder / "report.html").exists()


def test_a_recording_that_can_not_be_drawn_keeps_its_verdict_and_is_not_promoted(world, tmp_path):
    world.spoils["one"] = foreign_samples
    one, two = ran_set(tmp_path, "one", "two")
    assert one.judgement == read_verdict(one.folder)
    assert isinstance(one.error, HarnessError)
    assert "judged, but the verdict or its report can't be written: samples/kv-0.arrow lacks the columns" in str(
        one.error
    )
    assert not (one.folder / "report.html").exists()
    assert two.error is None


def test_a_report_that_raises_anything_is_trouble_that_can_not_promote(world, tmp_path, monkeypatch):
    def raises(recording, judgement):
        raise ZeroDivisionError("a bug in a report")

    monkeypatch.setitem(REPORTS, "html", raises)
    result = ran(world, tmp_path)
    assert "ZeroDivisionError: a bug in a report; see `chaosgate judge" in str(result.error)
    assert result.exit_code == 12
    assert read_verdict(result.folder) == result.judgement
    passed = replace(result.judgement, exit_code=0, decision=Decision.PROMOTE)
    assert replace(result, judgement=passed).exit_code == 12


def test_trouble_of_the_run_itself_is_what_is_told_first(world, tmp_path):
    world.spoils["staged"] = torn_experiment
    world.told = by_kind(signal=Told(heal_fails="stuck"))
    assert isinstance(ran(world, tmp_path).error, DirtyError)


def test_a_set_with_a_recording_that_can_not_be_judged_has_its_table_and_its_decision(world, tmp_path, capsys):
    from rich.console import Console

    from chaos.cli import _conclude

    world.spoils["one"] = torn_experiment
    results = ran_set(tmp_path, "one", "two")
    experiments = [result.experiment for result in results]
    exit_code = _conclude(Console(width=300), experiments, results, Options(target="memory", runs=tmp_path))
    said = capsys.readouterr().out
    assert exit_code == 12
    assert "one" in said
    assert "NO VERDICT" in said
    assert "CANNOT TELL" in said
    assert "exit code 12" in said
    assert "two" in (tmp_path / "index.html").read_text()


def test_a_set_stops_when_interrupted(world, tmp_path):
    flags = Flags()
    results = ran_set(tmp_path, "one", "two", flags=flags, done=lambda _: setattr(flags, "interrupted", "SIGINT"))
    assert len(results) == 1


# ---------------------------------------------------------------- signals, options, folders


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_flag_and_wakes_the_clock_and_raises_nothing(number):
    flags, clock = Flags(), MonotonicClock()
    before = signal.getsignal(number)
    with listening(flags), waking(flags, clock):
        os.kill(os.getpid(), number)
        assert not clock.sleep_until(clock.now_ns() + ns(30))
    assert flags.interrupted == signal.Signals(number).name
    assert signal.getsignal(number) is before
    assert flags.wakers == []


def test_the_first_signal_is_the_one_that_is_named():
    flags = Flags()
    with listening(flags):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert flags.interrupted == "SIGTERM"


def test_options_replace_seed_and_versions():
    one = replace(experiment(), stack=StackSpec(name="memory", versions={"a": "1", "b": "1"}))
    asked = with_options(one, Options(versions={"b": "2"}, seed=9))
    assert (asked.seed, asked.stack.versions) == (9, {"a": "1", "b": "2"})
    assert with_options(one, Options()) == one


def test_two_runs_at_once_have_folders_of_their_own(tmp_path):
    folders = {new_folder(tmp_path, "e") for _ in range(5)}
    assert len(folders) == 5
    assert all((folder / "samples").is_dir() for folder in folders)


def test_notes_are_in_the_recording_and_a_folder_that_can_not_be_made_is_trouble(world, tmp_path):
    result = ran(world, tmp_path, notes=("replay of x, with other load",), versions={"memory": "2"})
    told = Recording.open(result.folder)
    assert next(e.detail for e in told.events if e.kind is EventKind.NOTE) == "replay of x, with other load"
    assert told.run["versions_given"] == {"memory": "2"}
    (tmp_path / "file").write_text("")
    result = ran(world, tmp_path / "file")
    assert (result.folder, result.judgement, result.exit_code) == (None, None, 12)
    assert "give a --runs folder that you may write to" in str(result.error)


def test_the_worse_of_verdict_and_trouble_is_the_exit_code():
    held = SimpleNamespace(exit_code=10)
    result = RunResult(experiment=experiment(), folder=Path("x"), judgement=held, error=StackError("late"))
    assert result.exit_code == 10
    assert replace(result, error=DirtyError("stuck")).exit_code == 13
    assert replace(result, judgement=None, error=StackError("late")).exit_code == 12


def test_a_version_asked_for_is_the_one_that_an_upgrade_ends_with():
    upgrade = step("upgrade", fault=Replace(version="3.5.35"), for_s=0.0)
    asked = with_options(experiment(upgrade), Options(versions={"memory": "9.9"}))
    assert asked.steps[0].fault.version == "9.9"
    assert not asked.stack.versions


def test_without_an_upgrade_the_version_asked_for_is_the_one_that_runs():
    asked = with_options(experiment(step()), Options(versions={"memory": "9.9"}))
    assert asked.stack.versions == {"memory": "9.9"}
