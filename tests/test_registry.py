"""Names from strangers' packages join our tables, or the error says whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from chaos.errors import UsageError
from chaos.registry import Table, joined
from gates.errors import Errors

ROOT = Path(__file__).parents[1]
GROUP = "chaosgate.gates"
OURS = {"errors": Errors}


def entry(name="mine", value="gates.latency:Latency"):
    return EntryPoint(name, value, GROUP)


@pytest.fixture
def installed(monkeypatch):
    """Have packages with these entry points."""

    def have(*entries):
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: [one for one in entries if one.group == group])

    return have


def test_a_stranger_s_entry_joins_the_table(installed):
    from gates.latency import Latency

    installed(entry(), EntryPoint("other", "no.such:Thing", "chaosgate.faults"))
    assert joined(OURS, GROUP) == {"errors": Errors, "mine": Latency}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("errors")], r"'errors' of an unknown package \(gates.latency:Latency\): .* taken by chaosgate itself"),
        ([entry(), entry(value="a:B")], r"'mine' of .*\(a:B\): the name is taken by .*\(gates.latency:Latency\)"),
        ([entry(value="no.such:Thing")], "can't be loaded: ModuleNotFoundError: No module named 'no'"),
        ([entry(value="gates.errors:Nothing")], "can't be loaded: AttributeError: .*'Nothing'"),
        ([entry(value="broken_entry:Thing")], "can't be loaded: ZeroDivisionError: division by zero; mend"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_owners(installed, tmp_path, monkeypatch, entries, said):
    (tmp_path / "broken_entry.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed(*entries)
    with pytest.raises(UsageError, match=f"^{GROUP}: .*{said}"):
        joined(OURS, GROUP)


def test_two_installed_packages_that_claim_a_name_are_both_named(tmp_path, monkeypatch):
    for package in ("theirs", "others"):
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[chaosgate.gates]\nmine = gates.latency:Latency\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UsageError, match=r"'mine' of (theirs|others) .*taken by (theirs|others) "):
        joined(OURS, GROUP)


def test_a_table_is_joined_when_it_is_looked_into_and_no_sooner(installed):
    installed(entry(value="no.such:Thing"))
    table = Table(OURS, GROUP)
    for _ in range(2):
        with pytest.raises(UsageError, match="mend or uninstall it"):
            list(table)
    installed(entry())
    assert set(table) == {"errors", "mine"}
    assert table["errors"] is Errors


@pytest.fixture
def broken(tmp_path):
    """The environment of one who has installed a package whose every entry point kills what imports it."""
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    groups = [f"[chaosgate.{table.rpartition('.')[2]}]\nmine = broken:Thing\n" for table in TABLES]
    (info / "entry_points.txt").write_text("".join(groups))
    (tmp_path / "broken.py").write_text("raise SystemError('a package of somebody else')\n")
    labs = {"CHAOSGATE_LABS": str(tmp_path / "labs")}
    return {**os.environ, **labs, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-m", "chaos.cli", "heal"], "nothing to heal"),
        (["-m", "chaos.agent"], ""),
        (["-m", "chaos.cli", "run", "--help"], "Usage: "),
    ],
    ids=["heal", "agent", "help"],
)
def test_a_stranger_s_broken_package_stops_neither_heal_nor_the_agent(broken, argv, said):
    done = subprocess.run([sys.executable, *argv], env=broken, input="", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


SLOW, PATCHED = {"importlib.metadata"}, {"importlib.metadata", "ssl", "socket", "threading"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("chaos.targets.netns.init", SLOW),
        ("chaos.targets.netns.enter", SLOW),
        ("chaos.agent.serve", SLOW),
        ("workloads", PATCHED),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_begins_often_or_first_imports_no_table_of_strangers(module, unwanted):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())


TABLES = ["chaos.faults", "chaos.probes", "chaos.stacks", "chaos.targets", "gates", "reports", "workloads"]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_open_to_strangers(table):
    text = (ROOT / table.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    assert f'"chaosgate.{table.rpartition(".")[2]}"' in text
