"""Where $CHAOSGATE_NO_SKIPS is set, as CI does, a test that is skipped for no listed reason has failed.

"Every test" is a promise: a tool that vanished from a machine must not take its tests along in silence.
"""

from __future__ import annotations

import os
import re

import pytest

from tests.spreading import Queues

ANYWHERE = {  # what a skip says → why it hides nothing
    r"^netem( does not work in this kernel|:)": "a module that kernels may lack; tests/vm boots a kernel that has it",
    r"^this kernel's netem needs no iptables$": "the other side of it: what is refused without netem is had there",
}
WITHOUT_ROOT = {
    r"^needs? (root|namespaces)\b": "CI has a run as root; tests of ordinary users are run by it, too",
    r"^only root can\b": "the same",
    r"^ordinary users: ": "the reason names the tests for them",
    r"^the whole look needs the machine's root$": "the same",
    r"may be delegated to this user$": "systemd may have given this user cgroups; root becomes a user without any",
}


def accepted(reason: str, *, root: bool) -> bool:
    """Say whether a skip for this reason is no loss."""
    return any(re.search(pattern, reason) for pattern in (ANYWHERE if root else ANYWHERE | WITHOUT_ROOT))


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what a skip says of itself."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


def failed_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip that is not listed into a failure; one that is expected to fail is none."""
    if not (os.environ.get("CHAOSGATE_NO_SKIPS") and report.skipped) or hasattr(report, "wasxfail"):
        return
    if not accepted(reason := reason_of(report), root=os.geteuid() == 0):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CHAOSGATE_NO_SKIPS forbids: {reason}\nmend that, or list it in {__file__}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    failed_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    failed_if_skipped(report)
    return report


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config, log):
    """Let a test that boots a cluster wait for its turn, and spread all others as ever."""
    return Queues(config, log) if config.getoption("dist") == "load" else None
