"""The pytest door: `pytest experiments/` runs each experiment once and shows every gate as a test.

    partition.yaml::validity   partition.yaml::p99-under-fault   partition.yaml::linearizable[seed=2]

PASSED: the gate passed. FAILED: the product failed it. ERROR: the harness broke down. INCONCLUSIVE: the run can't tell.
Nothing but this file is imported until an experiment is really collected, and it lies in no package, so that a project
which has packages called `chaos`, `gates` or `reports` of its own is not disturbed.

A matrix's cell stands behind the gate's name, where pytest looks for parameters, so that every printed name can be
given back to pytest.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from _pytest._code.code import ExceptionInfo, TerminalRepr

    from chaos.model import Experiment, NamedGate, Verdict
    from chaos.options import Options
    from chaos.session import RunResult

FIRST_KEY = re.compile(r"[\"']?chaosgate[\"']?\s*:")
BEFORE_IT = ("#", "---")  # comments and the document's start
OPTIONS = {
    "chaos_target": ("netns", "where experiments run (netns)"),
    "chaos_runs": ("runs", "folder of the recordings"),
    "chaos_rejudge": ("", "judge the newest recordings in this folder instead of running"),
    "chaos_seed": ("", "replaces the seed of the files: it picks victims and traffic"),
}


class GateFailed(AssertionError):  # noqa: N818  # the words that reporters show
    """The product failed a gate."""


class Inconclusive(Exception):  # noqa: N818  # a verdict, not an error
    """The run can't tell; neither passed nor failed by the product."""


# ---------------------------------------------------------------- options and collection


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --chaos-* options and their ini twins."""
    group = parser.getgroup("chaosgate", "chaos experiments")
    for name, (default, text) in OPTIONS.items():
        group.addoption(
            f"--{name.replace('_', '-')}", dest=name, default=None, help=f"{text} (default: {default or 'off'})"
        )
        parser.addini(name, text, default=default)
    text = "run this version, e.g. etcd=3.5.1, or a path to a binary; may be repeated"
    group.addoption("--chaos-version", dest="chaos_version", action="append", metavar="COMPONENT=VERSION", help=text)
    parser.addini("chaos_version", text, type="linelist", default=[])


def setting(config: pytest.Config, name: str) -> str:
    """Return an option, else its ini twin."""
    return str(config.getoption(name) or config.getini(name))


def asked(config: pytest.Config) -> Options:
    """Return the candidate and the seed that the command line or the ini file names; UsageError for what is neither."""
    from chaos.errors import UsageError  # noqa: PLC0415
    from chaos.options import Options, pairs  # noqa: PLC0415

    given = config.getoption("chaos_version") or config.getini("chaos_version")
    seed = setting(config, "chaos_seed")
    if seed and not (seed.isascii() and seed.isdigit()):
        raise UsageError(f"--chaos-seed {seed}: not a whole number of 0 or more; write e.g. --chaos-seed 3")
    return Options(versions=pairs(given, "--chaos-version"), seed=int(seed) if seed else None)


def folder_setting(config: pytest.Config, name: str) -> Path:
    """Return a folder: an option's is relative to where pytest was started, its ini twin's to the ini file."""
    given = config.getoption(name)
    return Path(given) if given else config.rootpath / str(config.getini(name))


def is_experiment(path: Path) -> bool:
    """Tell whether a file is ours: YAML whose first key is `chaosgate`. One that can't be read is not."""
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            texts = (line.strip() for line in lines)
            first = next((text for text in texts if text and not text.startswith(BEFORE_IT)), "")
    except OSError:
        return False
    return FIRST_KEY.match(first) is not None


def is_recorded(path: Path) -> bool:
    """Tell whether a file is a recording's own copy of its experiment."""
    return (path.parent / "run.json").exists()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect experiment files; those kept in recordings only if they are named."""
    if not is_experiment(file_path) or (is_recorded(file_path) and not parent.session.isinitpath(file_path)):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


def package_in_the_way() -> str:
    """Return which package, and where, would be imported in place of one of ours; `chaos` can't be asked of itself."""
    import importlib.util  # noqa: PLC0415
    import sys  # noqa: PLC0415

    there = sys.modules.get("chaos")
    spec = importlib.util.find_spec("chaos") if there is None else there.__spec__
    origin = spec.origin if spec is not None else getattr(there, "__file__", None)
    if origin is None or Path(origin).resolve().parent.parent != Path(__file__).resolve().parent:
        return f"`chaos` ({origin or 'of unknown origin'})"
    from chaos import places  # noqa: PLC0415

    return places.package_in_the_way()


class ExperimentFile(pytest.File):
    """One YAML file: an item for each gate of each of its cells."""

    def collect(self) -> Iterable[pytest.Item]:
        """Read the file; every problem in it is a collection error."""
        if found := package_in_the_way():
            raise self.CollectError(
                f"{self.path.name}: chaosgate can't run experiments here: {found} is in the way of its own package of "
                f"that name; use `chaosgate run {self.nodeid}`, or plain `pytest --import-mode=importlib` "
                "(`python -m pytest` and a conftest.py put their folder first)"
            )
        from chaos.errors import ChaosgateError  # noqa: PLC0415
        from chaos.options import refuse_other_axes, with_options  # noqa: PLC0415
        from chaos.spec import cells, load  # noqa: PLC0415

        try:
            options, experiments = asked(self.config), cells(load(self.path))
            refuse_other_axes(experiments[0], options, prefix="--chaos-")
        except ChaosgateError as error:
            raise self.CollectError(str(error)) from None
        for experiment in experiments:
            yield from self._items(Cell.of(self, with_options(experiment, options)))

    def _items(self, cell: Cell) -> Iterable[pytest.Item]:
        gates = cell.experiment.gates
        for place, (name, gate) in enumerate([("validity", None), *((gate.name, gate) for gate in gates)]):
            yield GateItem.from_parent(self, name=name + cell.suffix, gate=gate, cell=cell, place=place)


CELLS = pytest.StashKey[dict[tuple[Path, str], "Cell"]]()
DIRTY = pytest.StashKey[str]()


@dataclass(slots=True, kw_only=True, eq=False)
class Cell:
    """One run: an experiment, or one cell of its matrix. The run happens once; a failed run is remembered."""

    experiment: Experiment
    config: pytest.Config
    _result: RunResult | None = None
    _trouble: Exception | None = None

    @classmethod
    def of(cls, file: ExperimentFile, experiment: Experiment) -> Cell:
        """Return the session's one cell for this, however often its file is collected."""
        known = file.config.stash.setdefault(CELLS, {})
        return known.setdefault((file.path, experiment.name), cls(experiment=experiment, config=file.config))

    @property
    def suffix(self) -> str:
        """What follows a gate's name: "[seed=2]" in a matrix, else nothing."""
        _, bracket, label = self.experiment.name.partition("[")
        return bracket + label

    def result(self) -> RunResult:
        """Run, or judge again, the first time; afterwards the same answer or the same trouble."""
        if self._trouble is not None:
            raise self._trouble
        if self._result is None:
            self._result = self._remembered()
        return self._result

    def _remembered(self) -> RunResult:
        from chaos.errors import DirtyError, HarnessError  # noqa: PLC0415

        try:
            result = self._obtain()
        except BaseException as error:  # a timeout's or Ctrl-C's too: no gate starts the run a second time
            ended = HarnessError(f"the run was ended by {type(error).__name__}: {error}")
            self._trouble = error if isinstance(error, Exception) else ended
            raise
        if isinstance(result.error, DirtyError):
            self.config.stash[DIRTY] = f"{self.experiment.name}: {result.error}"
        return result

    def _obtain(self) -> RunResult:
        from chaos.cell import rejudge_newest, run_cell  # noqa: PLC0415
        from chaos.errors import DirtyError  # noqa: PLC0415

        if setting(self.config, "chaos_rejudge"):
            folder = folder_setting(self.config, "chaos_rejudge")
            return rejudge_newest(self.experiment, folder, given=asked(self.config))
        if dirty := self.config.stash.get(DIRTY, ""):
            raise DirtyError(f"not run, the target is dirty since {dirty}; run `chaosgate heal`")
        target, runs = setting(self.config, "chaos_target"), folder_setting(self.config, "chaos_runs")
        return run_cell(self.experiment, target=target, runs=runs, given=asked(self.config))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What reporters read of a parametrized test, so that the cells of a matrix are not one test to them."""

    id: str
    params: Mapping[str, str]


class GateItem(pytest.Item):
    """One gate of one run."""

    obj = None  # reporters written for functions look for these
    function = None

    def __init__(self, *, gate: NamedGate | None, cell: Cell, place: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate, self.cell, self._place = gate, cell, place
        self.funcargs: dict[str, Any] = {}

    def setup(self) -> None:
        """Run the experiment if no gate of it was asked for before."""
        if label := self.cell.suffix.strip("[]"):
            self.callspec = Parameters(id=label, params={"cell": label})  # not before: pytest sorts by it
        result = self.cell.result()
        if result.folder is not None:
            self._tell("chaosgate_recording", str(result.folder))
        if result.error is not None and self._verdict().status.name != "FAIL":
            raise result.error  # a FAIL in a run that broke down is proved, and no less true for it

    def runtest(self) -> None:
        """Raise what the verdict says."""
        verdict = self._verdict()
        self._tell("chaosgate_verdict", verdict.status.name)
        expected = self.gate.expect_fail if self.gate is not None else ""
        if verdict.status.name == "FAIL":
            if expected:
                pytest.xfail(f"known failure: {expected}")
            raise GateFailed(verdict.summary)
        if verdict.status.name == "INCONCLUSIVE":
            raise Inconclusive(verdict.summary)
        if expected:
            raise GateFailed(f"passed, but is expected to fail ({expected}); remove `expect`")

    def _verdict(self) -> Verdict:
        result = self.cell.result()
        if result.judgement is None:
            raise result.error or RuntimeError(f"{self.cell.experiment.name} was not judged")
        return result.judgement.verdicts[self._place]

    def _tell(self, name: str, value: str) -> None:
        if (name, value) not in self.user_properties:
            self.user_properties.append((name, value))

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """Show the verdict's sentence and where the report is; tracebacks only for what is really broken."""
        error = excinfo.value
        where = dict(self.user_properties).get("chaosgate_recording")
        report = f"\nreport: {where}/report.html" if where else ""
        if isinstance(error, GateFailed | Inconclusive):
            return f"{self.name}: {error}{report}"
        from chaos.errors import ChaosgateError  # noqa: PLC0415

        if isinstance(error, ChaosgateError):
            return f"{type(error).__name__}: {error}{report}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Return file and name for reporters."""
        return self.path, None, f"{self.cell.experiment.name.partition('[')[0]}: {self.name}"


# ---------------------------------------------------------------- reporting


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Mark inconclusive gates, so that they are shown as what they are; say plainly why a run could not be had."""
    report = yield
    if not isinstance(item, GateItem) or call.excinfo is None:
        return report
    report.chaosgate_inconclusive = isinstance(call.excinfo.value, Inconclusive)
    if call.when == "setup" and report.failed:
        report.longrepr = item.repr_failure(call.excinfo)  # pytest asks for it after set-up only
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count inconclusive gates on their own; the session still fails."""
    if getattr(report, "chaosgate_inconclusive", False):
        return "inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why gates are inconclusive, as pytest does for failures, and where each run's report is."""
    if reports := terminalreporter.getreports("inconclusive"):
        terminalreporter.section("inconclusive gates")
        for report in reports:
            terminalreporter.line(f"{report.nodeid}: {str(report.longrepr).splitlines()[0]}")
    if pages := recorded(report for reports in terminalreporter.stats.values() for report in reports):
        terminalreporter.section("chaosgate reports")
        for page, cell in pages.items():
            terminalreporter.line(f"{cell}: {page}")


def recorded(reports: Iterable[Any]) -> dict[str, str]:
    """Return the page of each recording → the file and cell that it is of."""
    found: dict[str, str] = {}
    for report in reports:
        if folder := dict(getattr(report, "user_properties", ())).get("chaosgate_recording"):
            found.setdefault(f"{folder}/report.html", cell_of(report.nodeid) or report.nodeid)
    return found


# ---------------------------------------------------------------- xdist: a cell stays on one worker


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where xdist would spread the gates of a cell, keep them together; other tests are spread as ever."""
    spreading = config.getoption("dist", "no") in ("load", "worksteal", "loadgroup")
    if not spreading or not any(has_experiment(argument, config.getini("norecursedirs")) for argument in config.args):
        return None
    from xdist.scheduler import LoadGroupScheduling  # noqa: PLC0415

    class CellScheduling(LoadGroupScheduling):  # type: ignore[misc]  # xdist is untyped
        def _split_scope(self, nodeid: str) -> str:
            cell = cell_of(nodeid)
            return str(super()._split_scope(nodeid)) if cell is None else cell

    return CellScheduling(config, log)


def cell_of(nodeid: str) -> str | None:
    """Return the file and cell of a gate, which must stay together; None for any other test."""
    file, _, name = nodeid.partition("::")
    if not file.endswith((".yaml", ".yml")):
        return None
    return file + "".join(name.partition("[")[1:])


def has_experiment(argument: str, skipped: Sequence[str]) -> bool:
    """Tell whether pytest's argument, a file or a folder, holds an experiment; `skipped` are patterns of folders."""
    path = Path(argument.partition("::")[0])
    if path.is_file():
        return is_experiment(path)
    for folder, names, files in os.walk(path):
        names[:] = [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in skipped)]
        if "run.json" not in files and any(is_experiment(Path(folder, file)) for file in files):
            return True
    return False
