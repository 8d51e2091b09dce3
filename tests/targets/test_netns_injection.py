"""How a step is measured while things go wrong around it; what agent and meter say is written down here."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from chaos import jsonlines
from chaos.errors import AgentError
from chaos.fidelity import Flow, check
from chaos.model import Aimed, Freeze, Proof
from chaos.piped import PipedProcess
from chaos.targets.agents import client as client_module
from chaos.targets.agents import injection as injection_module
from chaos.targets.agents import probing
from chaos.targets.agents.client import AgentClient
from chaos.targets.agents.injection import MeasuredInjection, Part
from chaos.targets.agents.paths import paths
from chaos.targets.netns.target import NetnsTarget
from tests.leftovers import await_true

NODES = ("n1", "n2", "n3")
PATIENCE_S = 20.0
STATE = {"name": "etcd", "pid": 7, "starts": 1, "exit_code": None, "ended_ns": None, "started_ns": 5}


def look(state: str | None) -> dict:
    """Return what the agent sees of a process: its state in the kernel."""
    return {"processes": [{**STATE, "stat": {"state": state, "cpu_ns": 10}}]}


class Written:
    """A target whose agent says of each subject what is written, the last of it for ever."""

    holds_down, gone_s = True, 1.0

    def __init__(self, folder, said=None) -> None:
        self.client = self
        self.bare = self
        self.folder, self.said = folder, said or {}
        self.on_measure = lambda: None
        self.alive = True

    def ask(self, op, timeout_s, **more):
        assert op in ("observe", "measure")
        if op == "measure":
            self.on_measure()
            return {"flows": []}
        left = self.said[more["undo"]["subject"]]
        return look(left.pop(0) if len(left) > 1 else left[0])

    def of(self, source, sink):
        return Flow(source=source, sink=sink, sent=0, received=0)

    def neighbour(self, node):
        return None

    def evidence_file(self, name):
        return self.folder / name


@pytest.fixture
def step(tmp_path, monkeypatch):
    """A freeze of two nodes, applied; as good as no patience for what takes a while to be seen."""
    monkeypatch.setattr(injection_module, "SETTLE_S", 0.0)
    monkeypatch.setattr(injection_module, "LOOK_APART_S", 0.0)
    monkeypatch.setattr(injection_module, "WATCH_S", 0.01)
    target = Written(tmp_path, {"n1": ["T"], "n2": ["T"]})
    aimed = [Aimed(subject=node, action=Freeze()) for node in ("n1", "n2")]
    plan = probing.plan([one.action for one in aimed], paths(aimed, [], NODES))
    injection = MeasuredInjection(target, "i1", aimed, plan)
    for i, one in enumerate(aimed):
        undo = {"subject": one.subject, "processes": [STATE]}
        injection._parts.append(Part(name=f"i1.{i}", aimed=one, undo=undo, applied_ns=1))
    return injection, target


def told(injection, phase="confirm") -> dict[str, Proof]:
    found = {}
    while not injection.events.empty():
        one = injection.events.get()
        if one.phase == phase:
            found[one.subject] = one.proof
    return found


def test_a_mismatch_of_one_part_is_not_measured_away_because_another_is_in_doubt(step):
    injection, target = step
    target.said["n1"] = ["R"]  # until the first packets; nothing is ever told of these, which leaves doubt on all
    target.on_measure = lambda: target.said.update(n1=["T"])
    injection._confirm()
    assert told(injection) == {"n1": Proof.MISMATCH, "n2": Proof.INCONCLUSIVE}


def test_what_is_seen_to_be_over_once_a_heal_has_begun_is_no_mismatch(step):
    injection, target = step
    target.said["n1"] = ["T", "R"]  # thawed between the two looks
    looks = target.ask

    def healed_meanwhile(op, timeout_s, **more):
        answer = looks(op, timeout_s, **more)
        if answer.get("processes", [{}])[0].get("stat", {}).get("state") == "R":
            injection._healing.set()
        return answer

    target.ask = healed_meanwhile
    injection._confirm()
    assert told(injection) == {"n1": Proof.INCONCLUSIVE, "n2": Proof.INCONCLUSIVE}


def test_packets_that_were_sent_while_a_heal_went_on_prove_no_mismatch(step):
    injection, _ = step
    moved = (check("delay n3→n1", holds=False, path="spared"),)
    assert injection._undisturbed(moved) == moved
    injection._healing.set()
    (found,) = injection._undisturbed(moved)
    assert (found.proof, "healed meanwhile" in found.why) == (Proof.INCONCLUSIVE, True)


def test_a_mismatch_seen_before_the_heal_stays_one(step):
    injection, target = step
    target.said["n1"] = ["R"]
    target.on_measure = injection._healing.set
    injection._confirm()
    assert told(injection) == {"n1": Proof.MISMATCH, "n2": Proof.INCONCLUSIVE}


@pytest.mark.parametrize("error", [AgentError("gone"), KeyError("flows")])
def test_measuring_that_breaks_down_for_whatever_reason_is_an_alarm(step, error):
    injection, target = step

    def broken():
        raise error

    target.on_measure = broken
    measuring = threading.Thread(target=injection._measure)
    measuring.start()
    measuring.join(PATIENCE_S)
    assert injection._watched.is_set()
    assert told(injection, "watch") == {"n1": Proof.MISMATCH, "n2": Proof.MISMATCH}


# ---------------------------------------------------------------- the client


def test_closing_a_client_whose_agent_hears_no_more_is_no_error(monkeypatch):
    monkeypatch.setattr(client_module, "END_S", 0.2)
    heard = threading.Event()
    code = """import os, time; os.close(0); os.write(1, b'{"event": "deaf"}\\n'); time.sleep(60)"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client = AgentClient(PipedProcess(process), lease_s=60, on_event=lambda _: heard.set())
    assert heard.wait(PATIENCE_S)
    with pytest.raises(AgentError, match="is gone"):
        client.ask("state", 5)
    client.close()
    client.close()
    assert process.stdin.closed
    assert process.stdout.closed


def agent(code: str, on_event) -> tuple[AgentClient, subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return AgentClient(PipedProcess(process), lease_s=60, on_event=on_event), process


def test_an_agent_that_reads_no_more_is_ended_though_its_pipe_is_full(monkeypatch):
    monkeypatch.setattr(client_module, "END_S", 0.2)
    monkeypatch.setattr(client_module, "BYE_S", 0.2)
    client, process = agent("import time; time.sleep(1000)", lambda _: None)
    stuck = threading.Thread(target=lambda: client.send("much", more="x" * (1 << 20)), daemon=True)
    stuck.start()
    await_true("it writes and can't", client._questions._lines._lock.locked)
    closing = threading.Thread(target=client.close, daemon=True)
    closing.start()
    for one in (closing, stuck):
        one.join(PATIENCE_S)
        assert not one.is_alive()
    assert process.returncode == -9


def test_an_agent_s_death_is_told_though_it_is_closed_before_anybody_knows_how_it_died():
    told: list[str] = []
    code = "import os, time; os.close(1); time.sleep(0.5)"  # deaf and dumb at once, dead later
    client, _ = agent(code, lambda event: told.append(event["event"]))
    assert client._questions.over.wait(PATIENCE_S)
    client.close()
    assert told == ["gone"]


def test_an_agent_that_leaves_its_beats_unanswered_is_taken_for_gone():
    """A stream that swallows everything and tells nothing: its machine has undone the fault by its own lease."""
    told: list[str] = []
    silent = "import sys\nfor line in sys.stdin: pass"
    process = subprocess.Popen([sys.executable, "-c", silent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client = AgentClient(PipedProcess(process), lease_s=0.3, on_event=lambda event: told.append(event["event"]))
    threading.Thread(target=client._beat, daemon=True).start()
    assert client._questions.over.wait(PATIENCE_S)
    await_true("it is told", lambda: told == ["gone"], within_s=PATIENCE_S)
    assert not client.alive


def test_an_agent_that_was_told_to_leave_is_no_news():
    told: list[str] = []
    client, _ = agent("import sys; sys.stdin.read()", lambda event: told.append(event["event"]))
    client.close()
    assert told == []


def test_reviving_an_agent_waits_for_nobody_who_waits_for_the_reviver(monkeypatch):
    """The reader of the dead one tells every injection in force of it, meanwhile."""
    target = NetnsTarget.__new__(NetnsTarget)
    target._lock, target._reviving, target._in_force = threading.RLock(), threading.Lock(), [Alarmed()]
    target.client, _ = agent("import os, time; os.close(1); time.sleep(0.5)", target._heard)
    monkeypatch.setattr(target, "_start_agents", lambda: "the next one")
    assert target.client._questions.over.wait(PATIENCE_S)
    began = time.monotonic()
    target.revive_agent()
    assert time.monotonic() - began < jsonlines.LISTENED_S
    assert target.client == "the next one"
    assert "gone" in target._in_force[0].why


class Alarmed:
    """An injection in force, and what it was told."""

    why = ""

    def alarm(self, why):
        self.why = why
