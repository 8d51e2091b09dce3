"""Set-up: a second one asks nobody for anything, and one that can't be says what, why, and what would do.

    a tree of its own ─ tools/, pyproject.toml ─ .venv ─▶ links to the parts of the one in use, and a stamp of its own

So nothing that a test provokes reaches the environment in which it runs. "Offline" is a network namespace without a
route.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.places import cache
from chaos.stacks.etcd.versions import DEFAULT_VERSION, SHIPPED, provide
from chaos.stacks.flink import versions as flink
from chaos.stacks.kafka import versions as kafka
from chaos.targets.kubernetes.lab import programs as lab
from tests.reports.browser import PROGRAMS as BROWSERS

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--net")
PATIENCE_S = 240

pytestmark = [pytest.mark.real, pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not on PATH")]


@pytest.fixture
def tree(tmp_path):
    """What set-up reads of the repository, elsewhere."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "tools", tree / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, tree)
    return tree


@pytest.fixture
def set_up(tree):
    """The tree, as a first set-up leaves it."""
    (tree / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != "installed":
            (tree / ".venv" / part.name).symlink_to(part)
    argv = [sys.executable, "-c", "import bootstrap; print(bootstrap.fingerprint(), end='')"]
    stamp = subprocess.run(argv, cwd=tree / "tools", capture_output=True, text=True, check=True).stdout
    (tree / ".venv/installed").write_text(stamp)
    return tree


@pytest.fixture
def programs(tmp_path):
    """A folder for PATH in which only the programs are that set-up looks for: no go, no apt-get, no pip."""
    folder = tmp_path / "bin"
    folder.mkdir()
    argv = [sys.executable, "-c", "import bootstrap as b; print(*(b.RUN_PROGRAMS | b.TEST_PROGRAMS))"]
    names = subprocess.run(argv, cwd=ROOT / "tools", capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if path := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            (folder / name).symlink_to(path)
    return folder


def bootstrap(tree, *arguments, limit=None, **environment):
    """Set up offline; return (exit code, all that was said)."""
    done = subprocess.run(
        [shutil.which(OFFLINE[0]), *OFFLINE[1:], sys.executable, "-B", str(tree / "tools/bootstrap.py"), *arguments],
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        preexec_fn=limit,  # one system call
    )
    return done.returncode, done.stdout


def assert_says(said, what, why, would_do):
    """The message has its three parts, each of which matches its pattern."""
    assert re.search(rf"setup: {what}.*\n  why: (.*\n)*?.*{why}(.*\n)*?  what would do: .*{would_do}", said), said
    assert "Traceback" not in said


@pytest.mark.parametrize(("arguments", "versions"), [((), [DEFAULT_VERSION]), (("--for-tests",), list(SHIPPED))])
def test_a_second_set_up_needs_no_network_and_finds_nothing_to_do(set_up, arguments, versions):
    for version in versions:
        provide(version)
    jars = kafka.provide(kafka.DEFAULT_VERSION).server.parent
    flinks = flink.provide(flink.DEFAULT_VERSION).folder
    lab.provide()
    before = sorted(set_up.rglob("*"))
    code, said = bootstrap(set_up, *arguments)
    assert code == 0, said
    etcds = [f"etcd {version}: {cache()}/etcd/{version}/etcd" for version in versions]
    logs = [f"kafka {kafka.DEFAULT_VERSION}: {jars}", f"flink {flink.DEFAULT_VERSION}: {flinks}"]
    cluster = [f"kubernetes {lab.VERSION}: {lab.provide().servers}"] if "--for-tests" in arguments else []
    assert said.splitlines() == [*etcds, *logs, *cluster]
    assert sorted(set_up.rglob("*")) == before


def test_a_changed_project_is_set_up_again(set_up):
    (set_up / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8") + "\n# changed\n")
    shutil.rmtree(set_up / ".venv")
    (set_up / ".venv").write_text("no folder")  # so that it stops where it begins
    code, said = bootstrap(set_up)
    assert code == 1
    assert_says(said, ".venv could not be made", r"\.venv", "make room for a folder at ")


def test_without_the_venv_module_its_package_is_named(tree, tmp_path):
    (tmp_path / "venv.py").write_text("raise ImportError(\"No module named 'venv'\", name='venv')\n")
    code, said = bootstrap(tree, PYTHONPATH=str(tmp_path))
    assert code == 1
    assert_says(
        said, ".venv could not be made", "No module named 'venv'", r"Python's venv module \(Debian: python3-venv"
    )


def test_without_pip_in_it_the_environment_says_why(tree):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))  # pip itself has 2 MB

    code, said = bootstrap(tree, limit=small_files)
    assert code == 1
    assert_says(
        said, ".venv could not be made", "File too large", "if it is ensurepip that is missing, install Python's"
    )


@pytest.mark.slow
def test_an_index_out_of_reach_is_told_and_the_next_set_up_tries_again(tree):
    code, said = bootstrap(tree, PIP_INDEX_URL="https://192.0.2.1/simple", PIP_FIND_LINKS="")  # RFC 5737: nobody
    assert code == 1
    assert_says(said, "pip install failed", "hatchling", "check that this machine reaches a Python package index")
    assert not (tree / ".venv/installed").exists()


def test_a_missing_program_is_told_with_the_command_that_brings_it(set_up, tmp_path):
    code, said = bootstrap(set_up, PATH=str(tmp_path))
    assert code == 1
    assert_says(
        said, "missing programs, from the packages .*util-linux", "not a Debian system", "as root: apt-get .*util"
    )


def test_any_browser_will_do(set_up, programs):
    for name in BROWSERS:
        (programs / name).unlink(missing_ok=True)
    assert "from the packages chromium, fonts-dejavu-core" in bootstrap(set_up, "--for-tests", PATH=str(programs))[1]
    (programs / BROWSERS[-1]).symlink_to("/bin/true")
    for version in SHIPPED:
        provide(version)
    kafka.provide(kafka.DEFAULT_VERSION)
    flink.provide(flink.DEFAULT_VERSION)
    code, said = bootstrap(set_up, "--for-tests", PATH=str(programs))
    assert code == 0, said


# ---------------------------------------------------------------- etcd's sources


def test_without_its_source_the_default_version_is_missed_and_the_others_are_not_asked_for(set_up, programs, tmp_path):
    code, said = bootstrap(set_up, PATH=str(programs), CHAOSGATE_CACHE=str(tmp_path / "empty"))
    assert code == 2
    assert said == (
        f"etcd {DEFAULT_VERSION} can't be had: go not found, needed for the Go module go.etcd.io/etcd/server/v3 "
        f"v{DEFAULT_VERSION}; install it, or name a binary by its path\n"
    )


def test_a_source_out_of_reach_fails_only_what_needs_it(set_up, programs, tmp_path):
    shutil.copytree(provide(DEFAULT_VERSION).parent, tmp_path / "some/etcd" / DEFAULT_VERSION)
    settings = {"PATH": str(programs), "CHAOSGATE_CACHE": str(tmp_path / "some"), "PIP_NO_INDEX": "1"}
    code, said = bootstrap(set_up, "--for-tests", **settings)
    assert code == 0, said
    assert f"etcd {DEFAULT_VERSION}: {tmp_path}/some/etcd/{DEFAULT_VERSION}/etcd\n" in said
    for version in SHIPPED:
        assert (f"etcd {version} can't be had: " in said) == (version != DEFAULT_VERSION), said
    assert "going on without the other versions: only what uses them will fail" in said
    assert f"kafka {kafka.DEFAULT_VERSION} can't be had: " in said
    assert "going on without Kafka: only what uses it will fail" in said
    assert f"flink {flink.DEFAULT_VERSION} can't be had: " in said
    assert "going on without Flink: only what uses it will fail" in said
