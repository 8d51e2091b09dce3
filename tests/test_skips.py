"""A test that is silently not run is a promise broken; where it is asked for, it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import accepted

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

def test_runs(): pass

@pytest.mark.skipif(True, reason={reason!r})
def test_marked(): pass

def test_calls(): pytest.skip({reason!r})

@pytest.fixture
def thing(): pytest.skip({reason!r})

def test_of_a_thing(thing): pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
"""
MODULE = "import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
MISSING, NETEM = "none of chromium on PATH", "netem does not work in this kernel; tests/vm boots one where it does"


@pytest.fixture
def outcomes(pytester, monkeypatch):
    """Run a project with our conftest and skips of one reason; return how many came to what."""

    def run(reason, *options, forbidden=True):
        monkeypatch.delenv("CHAOSGATE_NO_SKIPS", raising=False)
        if forbidden:
            monkeypatch.setenv("CHAOSGATE_NO_SKIPS", "1")
        pytester.makeconftest(CONFTEST.read_text("utf-8"))
        pytester.makepyfile(test_it=TESTS.format(reason=reason), test_module=MODULE.format(reason=reason))
        return pytester.runpytest("--continue-on-collection-errors", "-p", "no:cacheprovider", *options)

    return run


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_skip_for_no_listed_reason_fails(outcomes, options):
    result = outcomes(MISSING, *options)
    result.assert_outcomes(passed=1, failed=1, errors=3, xfailed=1)
    assert f"skipped, which CHAOSGATE_NO_SKIPS forbids: {MISSING}" in result.stdout.str()
    assert "conftest.py" in result.stdout.str()


def test_a_listed_reason_may_skip(outcomes):
    outcomes(NETEM).assert_outcomes(passed=1, skipped=4, xfailed=1)


def test_while_one_works_everything_may_be_skipped(outcomes):
    outcomes(MISSING, forbidden=False).assert_outcomes(passed=1, skipped=4, xfailed=1)


@pytest.mark.parametrize(
    "reason",
    [
        "needs root, of a user namespace at least",
        "needs namespaces of its own",
        "only root can give a file away",
        "ordinary users: test_netns_unprivileged.py",
        "the whole look needs the machine's root",
        "a cgroup cpu controller may be delegated to this user",
    ],
)
def test_what_needs_root_may_be_skipped_without_it_only(reason):
    assert accepted(reason, root=False)
    assert not accepted(reason, root=True)


@pytest.mark.parametrize(
    "reason",
    ["nfqueue: no iptables", "no cgroup2 here", "no cpu controller here", "user namespaces are switched off", ""],
)
def test_what_the_machine_lacks_is_no_reason(reason):
    assert not accepted(reason, root=True)
    assert not accepted(reason, root=False)


def test_ci_forbids_skips():
    assert "export CHAOSGATE_NO_SKIPS=1" in (CONFTEST.parents[1] / ".ci/run").read_text("utf-8")
