"""What comes at the wrong moment, and what fails half-way: nothing stays in force that nobody would undo."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from chaos.agent import agent as agent_module
from chaos.agent import journal, rules
from chaos.agent.actions import freeze
from chaos.agent.agent import Agent
from chaos.agent.ground import Ground
from chaos.agent.journal import Journal
from chaos.agent.metering import Metering
from chaos.agent.shaper import Rule
from chaos.errors import AgentError

PATIENCE_S = 20.0


class Slow:
    """An action that waits, where a test wants it to, for the test's word."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.reached = {name: threading.Event() for name in ("prepare", "apply")}
        self.go_on = {name: threading.Event() for name in ("prepare", "apply")}

    def _wait(self, name: str) -> None:
        self.reached[name].set()
        assert self.go_on[name].wait(PATIENCE_S)

    def prepare(self, ground, name, subject, action):
        self._wait("prepare")
        return {"name": name, "subject": subject}

    def apply(self, ground, undo, action):
        self._wait("apply")
        self.done.append("applied")

    def undo(self, ground, undo):
        self.done.append("undone")


@pytest.fixture
def slow(monkeypatch):
    kind = Slow()
    monkeypatch.setattr(agent_module, "ACTIONS", {"power": kind})
    yield kind
    for word in kind.go_on.values():
        word.set()


@pytest.fixture
def agent(tmp_path, slow):
    held = Journal(tmp_path)
    yield Agent(Ground(lab_socket="", hub_netns=-1, places={}), held, None, 60.0, lambda _: None)
    held.close()


class Asked(threading.Thread):
    """A request in a thread of its own, as the agent answers all of them."""

    def __init__(self, request, **body) -> None:
        super().__init__(daemon=True)
        self._request, self._body = request, body
        self.error = ""
        self.start()

    def run(self):
        try:
            self._request(self._body)
        except AgentError as error:
            self.error = str(error)

    def end(self) -> str:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.error


def injected(agent) -> Asked:
    return Asked(agent.inject, name="i1.0", subject="n1", action={"kind": "power"}, deadline_s=60)


def test_a_heal_in_the_middle_of_an_effect_undoes_it_once_it_is_whole(agent, slow, tmp_path):
    slow.go_on["prepare"].set()
    injecting = injected(agent)
    assert slow.reached["apply"].wait(PATIENCE_S)
    healing = Asked(agent.heal, name="i1.0")
    healing.join(0.2)
    assert slow.done == []
    slow.go_on["apply"].set()
    assert (injecting.end(), healing.end()) == ("", "")
    assert slow.done == ["applied", "undone"]
    assert journal.read(tmp_path) == []


def test_what_was_healed_before_it_began_never_begins(agent, slow, tmp_path):
    slow.go_on["apply"].set()
    injecting = injected(agent)
    assert slow.reached["prepare"].wait(PATIENCE_S)
    agent.heal({"name": "i1.0"})
    slow.go_on["prepare"].set()
    assert "before it began" in injecting.end()
    assert "applied" not in slow.done
    assert journal.read(tmp_path) == []
    assert agent._held == {}


def test_nothing_begins_once_the_controller_is_gone(agent, slow):
    slow.go_on["apply"].set()
    injecting = injected(agent)
    assert slow.reached["prepare"].wait(PATIENCE_S)
    agent.close()
    slow.go_on["prepare"].set()
    assert "before it began" in injecting.end()
    assert "applied" not in slow.done


# ---------------------------------------------------------------- rules


class Refusing:
    """A shaper that fails the next `failures` times, half-way: its rules are in force by then."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.rules: list[Rule] = []

    def state(self):
        return {"alive": True}

    def set(self, node, wanted):
        self.failures -= 1
        if self.failures >= 0 and not wanted:
            raise AgentError("no")
        self.rules = list(wanted)
        if self.failures >= 0:
            raise AgentError("no")

    def close(self):
        """Nothing to take away."""


def shaped(failures: int) -> tuple[Ground, Refusing]:
    shaper = Refusing(failures)
    return Ground(lab_socket="", hub_netns=-1, places={}, opened=shaper), shaper


CUT = [Rule(direction="in", peers=("10.0.0.2",), cut=True)]


def test_rules_that_would_not_go_are_taken_away_by_the_next_attempt():
    ground, shaper = shaped(0)
    rules.put(ground, "n1", "i1.0", CUT)
    shaper.failures = 1
    with pytest.raises(AgentError):
        rules.take(ground, "n1", "i1.0")
    assert shaper.rules == CUT
    rules.take(ground, "n1", "i1.0")
    assert shaper.rules == []


def test_rules_that_were_put_half_way_are_taken_away():
    ground, shaper = shaped(1)
    with pytest.raises(AgentError):
        rules.put(ground, "n1", "i1.0", CUT)
    rules.take(ground, "n1", "i1.0")
    assert shaper.rules == []


# ---------------------------------------------------------------- freezers


def record(freezer) -> dict:
    return {"name": "i1.0", "subject": "n1", "freezer": str(freezer)}


def test_a_freezer_of_a_lab_is_thawed_and_one_that_is_gone_is_content(tmp_path):
    node = tmp_path / "chaosgate-cg01234567" / "n1"
    freeze.undo(None, record(node / "cgroup.freeze"))
    node.mkdir(parents=True)
    (node / "cgroup.freeze").write_text("1")
    freeze.undo(None, record(node / "cgroup.freeze"))
    assert (node / "cgroup.freeze").read_text() == "0"


@pytest.mark.parametrize(
    "where",
    ["precious", "n1/cgroup.freeze", "chaosgate-cg01234567/n2/cgroup.freeze", "chaosgate-cg01/n1/cgroup.freeze"],
)
def test_a_record_that_names_anything_else_is_refused(tmp_path, where):
    file = tmp_path / where
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    with pytest.raises(AgentError, match="nothing is written there"):
        freeze.undo(None, record(file))
    assert file.read_text() == "precious"


def test_a_freezer_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "precious").write_text("precious")
    node = tmp_path / "chaosgate-cg01234567" / "n1"
    node.mkdir(parents=True)
    (node / "cgroup.freeze").symlink_to(tmp_path / "precious")
    with pytest.raises(AgentError, match="nothing is written there"):
        freeze.undo(None, record(node / "cgroup.freeze"))
    assert (tmp_path / "precious").read_text() == "precious"


# ---------------------------------------------------------------- meter


def test_a_meter_that_died_is_replaced_at_the_next_question():
    metering = Metering({})
    request = {"flows": [{"source": "a", "sink": "b", "packets": 1, "per_s": 1.0}]}
    try:
        with pytest.raises(AgentError, match="no node"):
            metering.ask(request, 1.0)
        os.kill(metering._process.pid, signal.SIGKILL)
        until = time.monotonic() + PATIENCE_S
        while metering.alive:
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(AgentError, match="no node"):
            metering.ask(request, 1.0)
        assert metering.alive
    finally:
        metering.close()
