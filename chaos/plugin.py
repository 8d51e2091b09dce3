"""The pytest door: `pytest experiments/` runs each experiment once and shows every gate as a test.

    partition.yaml::validity   partition.yaml::p99-under-fault   partition.yaml[seed=2]::linearizable

PASSED: the gate passed. FAILED: the product failed it. ERROR: the harness broke down. INCONCLUSIVE: the run can't tell.
Nothing but this file is imported until an experiment is really collected, so that a project which has packages
called `gates` or `reports` of its own is not disturbed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from _pytest._code.code import ExceptionInfo, TerminalRepr

    from chaos.model import Experiment, NamedGate, Verdict
    from chaos.session import RunResult

FIRST_KEY = "chaosgate:"
OUR_PACKAGES = ("gates", "reports", "workloads")
OPTIONS = {
    "chaos_target": ("netns", "where experiments run (netns)"),
    "chaos_runs": ("runs", "folder of the recordings"),
    "chaos_rejudge": ("", "judge the newest recordings in this folder instead of running"),
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


def setting(config: pytest.Config, name: str) -> str:
    """Return an option, else its ini twin."""
    return str(config.getoption(name) or config.getini(name))


def is_experiment(path: Path) -> bool:
    """Tell whether a YAML file is ours: its first key is `chaosgate`."""
    if path.suffix not in (".yaml", ".yml"):
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text = line.strip()
            if text and not text.startswith(("#", "---", "%")):
                return text.startswith(FIRST_KEY)
    return False


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect experiment files."""
    if not is_experiment(file_path):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


def check_packages() -> None:
    """Stop with a plain message if another package called like one of ours would be imported."""
    import importlib.util  # noqa: PLC0415

    home = Path(__file__).resolve().parent.parent
    for name in OUR_PACKAGES:
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if where != home / name:
            raise pytest.UsageError(
                f"chaosgate can't run experiments here: the package `{name}` at {where} is in the way of its own. "
                f"Run pytest with --import-mode=importlib, or from a folder that has no `{name}` package."
            )


class ExperimentFile(pytest.File):
    """One YAML file; its cells are collected below it."""

    def collect(self) -> Iterable[pytest.Collector]:
        """Read the file; every problem in it is a collection error."""
        check_packages()
        from chaos.errors import SpecError  # noqa: PLC0415
        from chaos.spec import cells, load  # noqa: PLC0415

        try:
            experiments = cells(load(self.path))
        except SpecError as error:
            raise self.CollectError(str(error)) from None
        for experiment in experiments:
            label = experiment.name.partition("[")[2].rstrip("]")
            nodeid = f"{self.nodeid}[{label}]" if label else self.nodeid
            yield Cell.from_parent(self, name=experiment.name, nodeid=nodeid, experiment=experiment)


class Cell(pytest.Collector):
    """One run: an experiment, or one cell of its matrix. The run happens once; a failed run is remembered."""

    def __init__(self, *, experiment: Experiment, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self._result: RunResult | None = None
        self._trouble: Exception | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the run's validity and every gate."""
        yield GateItem.from_parent(self, name="validity", gate=None)
        for gate in self.experiment.gates:
            yield GateItem.from_parent(self, name=gate.name, gate=gate)

    def result(self) -> RunResult:
        """Run, or judge again, the first time; afterwards the same answer or the same trouble."""
        if self._trouble is None and self._result is None:
            try:
                self._result = self._obtain()
            except Exception as error:  # noqa: BLE001  # remembered, and raised for every gate of the cell
                self._trouble = error
        if self._trouble is not None:
            raise self._trouble
        assert self._result is not None
        if self._result.error is not None:
            raise self._result.error
        return self._result

    def _obtain(self) -> RunResult:
        from chaos.cell import rejudge_newest, run_cell  # noqa: PLC0415

        if again := setting(self.config, "chaos_rejudge"):
            return rejudge_newest(self.experiment, Path(again))
        target, runs = setting(self.config, "chaos_target"), Path(setting(self.config, "chaos_runs"))
        return run_cell(self.experiment, target=target, runs=runs)


class GateItem(pytest.Item):
    """One gate of one run."""

    obj = None  # reporters written for functions look for these
    function = None

    def __init__(self, *, gate: NamedGate | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = gate
        self.funcargs: dict[str, Any] = {}

    def setup(self) -> None:
        """Run the experiment if no gate of it was asked for before."""
        assert isinstance(self.parent, Cell)
        result = self.parent.result()
        if result.folder is not None:
            self.user_properties.append(("chaosgate_recording", str(result.folder)))

    def runtest(self) -> None:
        """Raise what the verdict says."""
        verdict = self._verdict()
        self.user_properties.append(("chaosgate_verdict", verdict.status.name))
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
        assert isinstance(self.parent, Cell)
        judgement = self.parent.result().judgement
        assert judgement is not None
        return next(v for v in judgement.verdicts if v.gate == self.name)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """Show the verdict's sentence and where the report is; tracebacks only for what is really broken."""
        if not isinstance(excinfo.value, GateFailed | Inconclusive):
            from chaos.errors import ChaosgateError  # noqa: PLC0415

            if isinstance(excinfo.value, ChaosgateError):
                return f"{type(excinfo.value).__name__}: {excinfo.value}"
            return super().repr_failure(excinfo, style)
        where = dict(self.user_properties).get("chaosgate_recording")
        return f"{self.name}: {excinfo.value}\nreport: {where}/report.html"

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Return file and name for reporters."""
        return self.path, None, f"{self.parent.name if self.parent else ''}: {self.name}"


# ---------------------------------------------------------------- reporting


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Mark inconclusive gates, so that they are shown as what they are."""
    report = yield
    if isinstance(item, GateItem) and call.excinfo is not None and isinstance(call.excinfo.value, Inconclusive):
        report.chaosgate_inconclusive = True
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count inconclusive gates on their own; the session still fails."""
    if getattr(report, "chaosgate_inconclusive", False):
        return "inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why gates are inconclusive, as pytest does for failures."""
    reports = terminalreporter.getreports("inconclusive")
    if not reports:
        return
    terminalreporter.section("inconclusive gates")
    for report in reports:
        terminalreporter.line(f"{report.nodeid}: {str(report.longrepr).splitlines()[0]}")


# ---------------------------------------------------------------- xdist: a cell stays on one worker


class XdistHooks:
    """Registered only where xdist is, since its hooks are unknown elsewhere."""

    @staticmethod
    def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
        """With the default distribution, keep all gates of a cell together; other tests are spread as ever."""
        if config.getoption("dist", "no") != "load" or not any(map(_has_experiment, config.args)):
            return None
        from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415

        class CellScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
            def _split_scope(self, nodeid: str) -> str:
                file = nodeid.partition("::")[0].partition("[")[0]
                return nodeid.rpartition("::")[0] if file.endswith((".yaml", ".yml")) else nodeid

        return CellScheduling(config, log)


def _has_experiment(argument: str) -> bool:
    path = Path(argument.partition("::")[0])
    if path.is_file():
        return is_experiment(path)
    return path.is_dir() and any(is_experiment(p) for p in path.rglob("*.y*ml"))


def pytest_configure(config: pytest.Config) -> None:
    """Register the hooks of xdist where it is installed."""
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(XdistHooks(), "chaosgate-xdist")
