"""Names from strangers' packages join our tables, or the error says whose they are."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from chaos import registry
from chaos.errors import UsageError
from chaos.registry import joined
from gates.errors import Errors

GROUP = "chaosgate.gates"
OURS = {"errors": Errors}


def entry(name="mine", value="gates.latency:Latency"):
    return EntryPoint(name, value, GROUP)


@pytest.fixture
def installed(monkeypatch):
    """Have packages with these entry points."""

    def have(*entries):
        monkeypatch.setattr(registry, "entry_points", lambda *, group: [one for one in entries if one.group == group])

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
        ([entry(value="no.such:Thing")], "can't be loaded: No module named 'no'"),
        ([entry(value="gates.errors:Nothing")], "can't be loaded: .*'Nothing'"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_owners(installed, entries, said):
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


TABLES = ["chaos.faults", "chaos.probes", "chaos.stacks", "chaos.targets", "gates", "reports", "workloads"]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_open_to_strangers(table):
    from pathlib import Path

    text = (Path(__file__).parents[1] / table.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    assert f'"chaosgate.{table.rpartition(".")[2]}"' in text
