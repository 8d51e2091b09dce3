"""The pytest door, opened by pytest itself: experiments are collected, judged from recordings, and shown as tests."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

import chaos.cell
import chaosgate_pytest as plugin
from chaos.cell import rejudge_newest
from chaos.errors import DirtyError, HarnessError
from chaos.places import cache
from chaos.session import RunResult, judge_folder
from chaos.shelf import recordings
from chaos.spec import is_ours
from chaos.testing import RecordingBuilder
from tests.e2e import short

if TYPE_CHECKING:
    from pathlib import Path

CACHE = str(cache())  # of this user: pytester gives every test a home of its own
EXPERIMENT = """\
# a comment comes first
chaosgate: 1
name: {name}
stack: {{etcd: {{members: 3}}}}
load: {{kv: {{}}, rate: 50/s}}
duration: 30s
gates:
{gates}
"""
SOUND = "  - acknowledged-writes\n  - errors: {limit: 1%, during: run}"
FAILS = "  - errors: {limit: 1%, during: run}"
CANT_TELL = "  - latency: {limit: 1s, percentile: 99.99, during: run}"
MATRIX = "matrix: {seed: [1, 2]}\n"


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported(tmp_path_factory):
    """Judge once: pytester forgets what is first imported inside a session, and numpy can't be imported twice."""
    text = EXPERIMENT.format(name="made", gates=f"{SOUND}\n{CANT_TELL}")
    builder = RecordingBuilder(rate_per_s=50)
    builder.traffic(2, failed_share=0.5)
    judge_folder(builder.write(tmp_path_factory.mktemp("run") / "run", text))


@pytest.fixture
def project(pytester):
    return Project(pytester)


class Project:
    """A folder with experiments and recordings of them, and pytest run in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def experiment(self, gates: str = SOUND, *, name: str = "made", more: str = "") -> Path:
        path = self.path / f"{name}.yaml"
        path.write_text(EXPERIMENT.format(name=name, gates=gates) + more)
        return path

    def recording(self, name: str = "made", *, failed_share: float = 0.0, number: int = 1, complete: bool = True):
        builder = RecordingBuilder(rate_per_s=50)
        builder.run["experiment"] = name
        builder.traffic(8, failed_share=failed_share)
        for _ in range(20):  # as many as acknowledged-writes needs to tell
            builder.put_once()
        builder.traffic(2)
        text = EXPERIMENT.format(name=name.partition("[")[0], gates=SOUND)
        return builder.write(self.path / f"runs/2026010{number}-{name}", text, complete=complete)

    def rejudge(self, *arguments: object) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess("--chaos-rejudge", "runs", *map(str, arguments))

    def elsewhere(self, *arguments: object) -> pytest.RunResult:
        """In a process of its own."""
        return self.pytester.runpytest_subprocess("--chaos-rejudge", "runs", *map(str, arguments))


# ---------------------------------------------------------------- what is collected


def test_a_gate_is_an_item_and_so_is_the_validity_of_the_run(project):
    project.experiment()
    found = project.pytester.runpytest_inprocess("--collect-only", "-q")
    found.stdout.fnmatch_lines(["made.yaml::validity", "made.yaml::acknowledged-writes", "made.yaml::errors"])
    assert "3 tests collected" in found.stdout.str()


def test_the_cells_of_a_matrix_are_told_apart_behind_the_gate_s_name(project):
    project.experiment(FAILS, more=MATRIX)
    found = project.pytester.runpytest_inprocess("--collect-only", "-q")
    names = [line for line in found.outlines if "::" in line]
    assert names == [f"made.yaml::{gate}[seed={seed}]" for seed in (1, 2) for gate in ("validity", "errors")]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("made.yaml::errors[seed=2]", 1), ("made.yaml::errors", 2), ("made.yaml", 4), ("made.yaml::validity[seed=1]", 1)],
)
def test_every_name_that_is_printed_can_be_given_back(project, argument, expected):
    project.experiment(FAILS, more=MATRIX)
    for seed in (1, 2):
        project.recording(f"made[seed={seed}]")
    project.rejudge(argument).assert_outcomes(passed=expected)


OURS = ["chaosgate: 1", "# c\n\n---\nchaosgate: 1", "\ufeffchaosgate: 1", '"chaosgate": 1', "chaosgate : 1\nname: x"]
NOT_OURS = ["", "# chaosgate: 1", "name: x\nchaosgate: 1", "- chaosgate: 1", "chaosgate-like: 1", "xchaosgate: 1"]


@pytest.mark.parametrize("text", OURS + NOT_OURS)
def test_a_file_is_ours_by_its_first_key_and_the_reader_of_experiments_agrees(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    assert plugin.is_experiment(path) == is_ours(text) == (text in OURS)


def test_other_files_are_left_alone(project):
    for number, text in enumerate(NOT_OURS):
        (project.path / f"other{number}.yml").write_text(text)
    (project.path / "image.yaml").write_bytes(b"\x89PNG\xff\x00\n")
    (project.path / "chaosgate.txt").write_text("chaosgate: 1")
    (project.path / "gone.yaml").symlink_to("nowhere")
    assert project.pytester.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not plugin.is_experiment(project.path / "gone.yaml")


def test_a_bad_file_is_a_collection_error_that_says_where(project):
    project.experiment("  - latnecy\n  - errors: {limit: 5 apples, during: run}")
    ran = project.pytester.runpytest_inprocess()
    assert ran.ret == pytest.ExitCode.INTERRUPTED
    ran.stdout.fnmatch_lines(["*made.yaml:8:5: no such gate 'latnecy'; did you mean 'latency'?*"])
    ran.stdout.fnmatch_lines(["*made.yaml:9:*5 apples*"])
    assert "Traceback" not in ran.stdout.str()


def test_the_experiments_inside_recordings_are_not_collected_unless_named(project):
    project.experiment()
    folder = project.recording()
    project.rejudge().assert_outcomes(passed=3)
    project.rejudge("runs").assert_outcomes()
    assert not plugin.has_experiment(str(project.path / "runs"), [])
    project.rejudge(folder / "experiment.yaml").assert_outcomes(passed=3)


# ---------------------------------------------------------------- what is said


def test_gates_that_pass_are_passed_tests(project):
    project.experiment()
    project.recording()
    ran = project.rejudge("-v")
    ran.assert_outcomes(passed=3)
    assert ran.ret == 0


def test_a_gate_that_the_product_fails_is_failed_with_its_sentence_and_its_report(project):
    project.experiment()
    folder = project.recording(failed_share=0.5)
    ran = project.rejudge()
    ran.assert_outcomes(passed=2, failed=1)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["errors: * were not served during run, limit 1 %", f"report: *{folder.name}/report.html"])
    assert "Traceback" not in ran.stdout.str()


def test_a_gate_that_can_not_tell_is_counted_on_its_own_and_the_session_fails(project):
    project.experiment(CANT_TELL)
    project.recording()
    ran = project.rejudge()
    outcomes = ran.parseoutcomes()
    assert outcomes == {"passed": 1, "inconclusive": 1}
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["*inconclusive gates*", "made.yaml::latency: *"])


def test_a_run_that_was_cut_short_can_not_tell(project):
    project.experiment()
    project.recording(complete=False)
    assert project.rejudge().parseoutcomes() == {"inconclusive": 3}


def test_a_run_that_can_not_be_had_is_an_error_for_each_gate_and_never_a_skip(project):
    project.experiment()
    ran = project.rejudge()
    ran.assert_outcomes(errors=3)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["UsageError: *runs: no recording of made; run it first, without --chaos-rejudge"])
    assert "Traceback" not in ran.stdout.str()


def test_a_target_that_is_not_there_is_an_error(project):
    project.experiment()
    ran = project.pytester.runpytest_inprocess("--chaos-target", "netsn")
    ran.assert_outcomes(errors=3)
    ran.stdout.fnmatch_lines(["UsageError: no such target 'netsn'; did you mean 'netns'?"])


KNOWN = '{limit: 1%, during: run, expect: fail, because: "known upstream as #7"}'


def test_a_known_failure_is_an_xfail(project):
    project.experiment(f"  - errors: {KNOWN}")
    project.recording(failed_share=0.5)
    ran = project.rejudge("-rx")
    ran.assert_outcomes(passed=1, xfailed=1)
    assert ran.ret == 0
    ran.stdout.fnmatch_lines(["XFAIL made.yaml::errors - *known upstream as #7"])


def test_a_known_failure_that_passes_is_a_failure(project):
    project.experiment(f"  - errors: {KNOWN}")
    project.recording()
    ran = project.rejudge()
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*is expected to fail (known upstream as #7); remove `expect`*"])


def test_a_known_failure_that_can_not_be_told_is_not_an_xfail(project):
    project.experiment(f"  - errors: {KNOWN}")
    project.recording(failed_share=0.5, complete=False)
    assert project.rejudge().parseoutcomes() == {"inconclusive": 2}


# ---------------------------------------------------------------- which recording


def test_the_newest_recording_of_the_experiment_is_judged(project):
    project.experiment()
    project.recording(failed_share=0.5, number=1)
    project.recording(number=2)
    project.recording("another", failed_share=0.5, number=3)
    project.rejudge().assert_outcomes(passed=3)


def test_one_recording_can_be_named(project):
    project.experiment()
    old = project.recording(failed_share=0.5, number=1)
    project.recording(number=2)
    ran = project.pytester.runpytest_inprocess("--chaos-rejudge", str(old))
    ran.assert_outcomes(passed=2, failed=1)


def test_judging_again_takes_the_gates_of_the_file_and_not_the_recorded_ones(project):
    project.recording(failed_share=0.5)
    project.experiment("  - errors: {limit: 90%, during: run}")
    project.rejudge().assert_outcomes(passed=2)


def test_options_have_ini_twins_whose_folders_are_beside_the_ini_file(project, monkeypatch):
    project.pytester.makeini("[pytest]\nchaos_rejudge = runs\n")
    project.experiment()
    project.recording()
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    project.pytester.runpytest_inprocess(project.path).assert_outcomes(passed=3)
    help_text = project.pytester.runpytest_inprocess("--help").stdout.str()
    for name in ("--chaos-target", "--chaos-runs", "--chaos-rejudge", "chaos_target", "chaos_runs", "chaos_rejudge"):
        assert name in help_text


def test_the_candidate_and_the_seed_can_be_named(project, monkeypatch):
    ran = []

    def run_cell(experiment, *, given, **_):
        ran.append((experiment.stack.versions, experiment.seed, given.versions, given.seed))
        raise HarnessError("not today")

    monkeypatch.setattr(chaos.cell, "run_cell", run_cell)
    project.experiment()
    project.pytester.runpytest_inprocess("--chaos-version", "etcd=3.5.1", "--chaos-version=x=1", "--chaos-seed", "7")
    assert ran == [({"etcd": "3.5.1", "x": "1"}, 7, {"etcd": "3.5.1", "x": "1"}, 7)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--chaos-version", "3.5.1"), "--chaos-version 3.5.1: expected COMPONENT=VERSION, e.g. --chaos-version etcd="),
        (("--chaos-seed", "-1"), "--chaos-seed -1: not a whole number of 0 or more"),
        (("--chaos-seed", "7"), "--chaos-seed 7: the matrix of * says itself which seeds run, 1, 2; change the list"),
    ],
)
def test_a_candidate_or_a_seed_that_can_not_be_is_an_error(project, arguments, said):
    project.experiment(more=MATRIX)
    found = project.pytester.runpytest_inprocess(*arguments)
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines([f"*{said}*"])


def test_a_recording_of_another_candidate_or_seed_is_not_judged(project):
    project.experiment()
    folder = project.recording()
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"versions_asked": {"etcd": "3.5.1"}, "seed": 3}))
    project.rejudge("--chaos-version", "etcd=3.5.1", "--chaos-seed", "3").assert_outcomes(passed=3)
    project.rejudge("--chaos-version", "etcd=3.5.35").assert_outcomes(errors=3)
    project.rejudge("--chaos-version", "etcd=3.5.1", "--chaos-seed", "4").assert_outcomes(errors=3)


def test_the_end_of_a_session_says_where_the_reports_are(project):
    project.experiment(FAILS, more=MATRIX)
    folders = [project.recording(f"made[seed={seed}]") for seed in (1, 2)]
    found = project.rejudge()
    lines = [line for line in found.outlines if "report.html" in line]
    assert lines == [f"made.yaml[seed={seed}]: runs/{folders[seed - 1].name}/report.html" for seed in (1, 2)]


# ---------------------------------------------------------------- one run a cell


@pytest.fixture
def told(monkeypatch):
    """Replace the run, which takes a minute, by what it would return; the calls are returned."""
    calls: list[str] = []

    def tell(make):
        def run_cell(experiment, **_):
            calls.append(experiment.name)
            return make(experiment)

        monkeypatch.setattr(chaos.cell, "run_cell", run_cell)
        return calls

    return tell


def raises(error):
    def make(_):
        raise error

    return make


def test_the_run_happens_once_for_all_gates_of_a_cell(project, told):
    project.experiment(FAILS, more=MATRIX)
    for seed in (1, 2):
        project.recording(f"made[seed={seed}]")
    calls = told(lambda experiment: rejudge_newest(experiment, project.path / "runs"))
    ran = project.pytester.runpytest_inprocess("made.yaml::errors", "made.yaml::validity", "made.yaml::errors[seed=1]")
    ran.assert_outcomes(passed=4)
    assert sorted(calls) == ["made[seed=1]", "made[seed=2]"]


def test_a_run_that_broke_down_is_remembered(project, told):
    project.experiment()
    calls = told(raises(HarnessError("the lab fell over")))
    ran = project.pytester.runpytest_inprocess()
    ran.assert_outcomes(errors=3)
    ran.stdout.fnmatch_lines(["HarnessError: the lab fell over"])
    assert calls == ["made"]


def test_a_run_that_a_timeout_ended_is_not_started_again(project, told):
    project.experiment()
    calls = told(lambda _: pytest.fail("Timeout (>300.0s) from pytest-timeout."))
    project.pytester.runpytest_inprocess().assert_outcomes(errors=3)
    assert calls == ["made"]


def test_a_bug_in_the_harness_shows_its_traceback(project, told):
    project.experiment()
    told(raises(ZeroDivisionError("a bug")))
    ran = project.pytester.runpytest_inprocess()
    ran.assert_outcomes(errors=3)
    ran.stdout.fnmatch_lines(["E*ZeroDivisionError: a bug"])


def broke_down(project, error, **recording):
    """A run with a recording, a judgement, and trouble of the harness."""
    folder = project.recording(**recording)

    def make(experiment):
        judged = rejudge_newest(experiment, folder)
        return RunResult(experiment=experiment, folder=folder, judgement=judged.judgement, error=error)

    return make


def test_trouble_of_the_harness_makes_errors_of_passed_gates_but_hides_no_proved_failure(project, told):
    project.experiment()
    told(broke_down(project, HarnessError("the tear-down hung"), failed_share=0.5))
    project.pytester.runpytest_inprocess().assert_outcomes(errors=2, failed=1)


def test_nothing_else_runs_on_a_target_that_could_not_be_healed(project, told):
    project.experiment(name="made")
    project.experiment(name="later")
    calls = told(broke_down(project, DirtyError("made: etcd1 is still cut off")))
    ran = project.pytester.runpytest_inprocess("made.yaml", "later.yaml")
    ran.assert_outcomes(errors=6)
    ran.stdout.fnmatch_lines(["DirtyError: not run, the target is dirty since made: *; run `chaosgate heal`"])
    assert calls == ["made"]


def test_ctrl_c_ends_the_session(project, told):
    project.experiment()
    calls = told(raises(KeyboardInterrupt("SIGINT")))
    ran = project.pytester.runpytest_inprocess(no_reraise_ctrlc=True)
    assert ran.ret == pytest.ExitCode.INTERRUPTED
    assert calls == ["made"]


# ---------------------------------------------------------------- with other plugins


def test_only_the_gates_that_failed_last_are_judged_with_lf(project):
    project.experiment()
    project.experiment(name="other")
    project.recording(failed_share=0.5)
    project.recording("other")
    project.rejudge().assert_outcomes(passed=5, failed=1)
    project.rejudge("--lf").assert_outcomes(failed=1)


def test_junit_xml_names_the_gate_its_recording_and_its_verdict(project):
    project.experiment()
    project.recording(failed_share=0.5)
    project.rejudge("--junit-xml", "junit.xml")
    cases = {case.get("name"): case for case in ET.parse(project.path / "junit.xml").iter("testcase")}  # noqa: S314  # ours
    assert set(cases) == {"validity", "acknowledged-writes", "errors"}
    assert "were not served" in cases["errors"].find("failure").text
    properties = {p.get("name"): p.get("value") for p in cases["errors"].iter("property")}
    assert properties["chaosgate_verdict"] == "FAIL"
    assert "-made" in properties["chaosgate_recording"]
    assert cases["validity"].find("failure") is None


def allure_results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("*-result.json")]


def test_allure_calls_the_product_failed_and_the_harness_broken(project):
    project.experiment(f"{FAILS}\n{CANT_TELL}")
    project.experiment(name="never-run")
    project.recording(failed_share=0.5)
    project.rejudge("--alluredir", "allure")
    said = {(r["fullName"], r["name"]): r["status"] for r in allure_results(project.path / "allure")}
    assert said["made#errors", "errors"] == "failed"
    assert said["made#latency", "latency"] == "broken"
    assert said["made#validity", "validity"] == "passed"
    assert said["never-run#errors", "errors"] == "broken"


def test_allure_keeps_the_histories_of_a_matrix_s_cells_apart(project):
    project.experiment(FAILS, more=MATRIX)
    for seed in (1, 2):
        project.recording(f"made[seed={seed}]")
    project.rejudge("--alluredir", "allure").assert_outcomes(passed=4)
    results = allure_results(project.path / "allure")
    assert len({result["historyId"] for result in results}) == 4


LOOKS_AT_FUNCTIONS = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        report.description = str(item.function.__doc__) + str(item.obj.__doc__) + str(dict(item.funcargs))
        return report
"""

RUNS_AGAIN = """
    import pytest
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for attempt in range(3):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if not any(report.failed for report in reports):
                break
            item.funcargs.clear()
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""


def test_reporters_written_for_functions_find_what_they_look_for(project):
    project.pytester.makeconftest(LOOKS_AT_FUNCTIONS)
    project.experiment(FAILS, more=MATRIX)
    project.recording("made[seed=1]", failed_share=0.5)
    project.recording("made[seed=2]")
    project.rejudge("--setup-show", "--durations=3").assert_outcomes(passed=3, failed=1)
    project.pytester.runpytest_inprocess("--fixtures-per-test").assert_outcomes()


def test_a_gate_that_is_tried_again_is_the_same_run_and_says_the_same(project, told):
    project.pytester.makeconftest(RUNS_AGAIN)
    project.experiment()
    project.recording(failed_share=0.5)
    calls = told(lambda experiment: rejudge_newest(experiment, project.path / "runs"))
    project.pytester.runpytest_inprocess("--junit-xml", "junit.xml").assert_outcomes(passed=2, failed=1)
    assert calls == ["made"]
    assert (project.path / "junit.xml").read_text().count("chaosgate_verdict") == 3


# ---------------------------------------------------------------- xdist


def workers(result: pytest.RunResult) -> dict[str, str]:
    """Node id → the worker that ran it."""
    found = (re.match(r"\[(gw\d+)\].*% *\] \w+ (\S+::.+?) *$", line) for line in result.outlines)
    return {match[2]: match[1] for match in found if match}


@pytest.mark.slow
@pytest.mark.parametrize("dist", [(), ("--dist", "worksteal"), ("--dist", "loadgroup")])
def test_a_cell_stays_on_one_worker(project, dist):
    project.experiment("  - acknowledged-writes\n" + FAILS + "\n  - no-unexpected-exit", more=MATRIX)
    for seed in (1, 2):
        project.recording(f"made[seed={seed}]")
    ran = project.elsewhere("-n", "2", "-v", *dist)
    ran.assert_outcomes(passed=8)
    by_cell: dict[str | None, set[str]] = {}
    for nodeid, worker in workers(ran).items():
        by_cell.setdefault(plugin.cell_of(nodeid), set()).add(worker)
    assert {cell: len(found) for cell, found in by_cell.items()} == {"made.yaml[seed=1]": 1, "made.yaml[seed=2]": 1}


MEET = """
    import pathlib, time

    def test_first():
        deadline = time.monotonic() + 60
        while not pathlib.Path("second").exists():
            assert time.monotonic() < deadline, "test_second waits for this one's worker"
            time.sleep(0.05)

    def test_second():
        pathlib.Path("second").touch()
"""


@pytest.mark.slow
def test_other_tests_are_spread_even_those_of_one_file(project):
    project.experiment()
    project.recording()
    project.pytester.makepyfile(MEET)
    project.elsewhere("-n", "3").assert_outcomes(passed=5)


def test_without_experiments_xdist_schedules_as_it_always_does(project):
    (project.path / "node_modules").mkdir()
    (project.path / "node_modules/stray.yaml").write_text("chaosgate: 1")
    assert plugin.has_experiment(str(project.path), [])
    assert not plugin.has_experiment(str(project.path), ["node_modules"])
    assert not plugin.has_experiment(str(project.path / "no.py::test_it"), [])


# ---------------------------------------------------------------- what it imports

HEAVY = ("locust", "gevent", "kubernetes", "scapy", "pyarrow", "numpy", "pydantic", "scipy", "click", "rich")
LOADED = f"sorted({{name.partition('.')[0] for name in sys.modules}} & {set(HEAVY)})"


def test_the_plugin_imports_nothing_heavy():
    code = f"import sys, chaosgate_pytest; print({LOADED}); print([m for m in sys.modules if m.startswith('chaos')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['chaosgate_pytest']"]


def test_a_session_without_experiments_imports_nothing_of_ours_but_the_plugin(project):
    project.pytester.makepyfile("def test_it(): pass")
    (project.path / "ci.yaml").write_text("stages: []")
    names = "[n for n in sys.modules if n.partition('.')[0] in ('chaos', 'gates', 'reports', 'workloads')]"
    project.pytester.makeconftest(
        textwrap.dedent(f"""
            import sys
            def pytest_unconfigure():
                print("loaded", sorted({names}), {LOADED})
        """)
    )
    ran = project.pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:xdist", "-s")
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines(["loaded [[][]] [[][]]"])


# ---------------------------------------------------------------- real runs


def outcomes_of(folder: Path) -> dict[str, int]:
    """What pytest should say of a recording, by its verdict."""
    words = {"PASS": "passed", "INCONCLUSIVE": "inconclusive", "FAIL": "failed"}
    verdicts = json.loads((folder / "verdict.json").read_text())["verdicts"]
    return dict(Counter(words[verdict["status"]] for verdict in verdicts))


@pytest.fixture
def real_project(project, monkeypatch):
    monkeypatch.setenv("CHAOSGATE_CACHE", CACHE)
    return project


@pytest.mark.real
@pytest.mark.slow
def test_a_real_run_happens_once_and_its_recording_says_the_same_again(real_project):
    (real_project.path / "short.yaml").write_text(short.text())
    ran = real_project.pytester.runpytest_subprocess("--chaos-runs", "recordings")
    outcomes = ran.parseoutcomes()
    (folder,) = recordings(real_project.path / "recordings")
    assert sum(outcomes.values()) == 3
    assert outcomes == outcomes_of(folder)
    assert not {"failed", "error", "errors"} & set(outcomes), ran.stdout.str()
    again = real_project.pytester.runpytest_subprocess("--chaos-rejudge", folder)
    assert again.parseoutcomes() == outcomes
    assert recordings(real_project.path / "recordings") == [folder]


@pytest.mark.real
@pytest.mark.slow
def test_ctrl_c_in_a_real_run_heals_and_judges_before_the_session_ends(real_project):
    (real_project.path / "short.yaml").write_text(short.text(duration="40s"))
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--chaos-runs", "recordings"]
    output = (real_project.path / "output").open("w+")
    session = subprocess.Popen(argv, cwd=real_project.path, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not any('"inject"' in path.read_text() for path in real_project.path.glob("recordings/*/events.jsonl")):
            assert session.poll() is None, (real_project.path / "output").read_text()
            assert time.monotonic() < deadline, "nothing was injected"
            time.sleep(0.1)
        session.send_signal(signal.SIGINT)
        assert session.wait(timeout=90) == pytest.ExitCode.INTERRUPTED
    finally:
        session.kill()
        session.wait()
        output.close()
    (folder,) = recordings(real_project.path / "recordings")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["detail"] for event in events if event["kind"] == "run"] == ["begin", "interrupted"]
    assert any(event["kind"] == "heal" for event in events)
    assert json.loads((folder / "verdict.json").read_text())["decision"] != "promote"
