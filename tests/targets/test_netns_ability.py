"""What is refused before there is a lab: what could not be healed in it, or not be seen to be."""

from __future__ import annotations

import shutil

import pytest

from chaos.errors import CapabilityError
from chaos.model import Cut, Signal, StackAction
from chaos.targets.netns import ability

PROGRAMS = ("ip", "tc", "nft", "iptables", "sh")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is all of PATH; every program in it is content and says nothing."""
    shell = shutil.which("sh")
    for name in PROGRAMS:
        (tmp_path / name).write_text(f"#!{shell}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ability, "_shapers", lambda: {"nfqueue": ""})
    remembered = (ability._unprovable, ability._means)  # by another test, of the machine as it is
    for one in remembered:
        one.cache_clear()
    yield tmp_path
    for one in remembered:
        one.cache_clear()


@pytest.mark.usefixtures("programs")
def test_a_fault_that_can_be_seen_to_be_healed_is_let_through():
    assert ability.backend(Signal()) == "SIGKILL"
    assert ability.backend(Cut(peers=("n2",))) == "nft"


@pytest.mark.parametrize("action", [Signal(), Cut(peers=("n2",))], ids=lambda one: one.kind)
def test_a_fault_is_refused_where_its_heal_could_not_be_proved(programs, action):
    (programs / "nft").write_text(f"#!{shutil.which('sh', path='/bin')}\necho no nf_tables here >&2; exit 1\n")
    (programs / "tc").unlink()
    with pytest.raises(CapabilityError, match="that it is healed could not be proved") as refused:
        ability.backend(action)
    assert "tc: not found on PATH" in str(refused.value)
    assert "nft -j list ruleset ended with 1: no nf_tables here" in str(refused.value)
    assert ability.backend(StackAction(operation="restart"))
