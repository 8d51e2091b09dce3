"""A node's disk on a real lab: slow, faulty, full, forgetful; measured by trials of ours, and healed. And every no."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import pytest

from chaos.agent import disks as trying
from chaos.agent import journal
from chaos.errors import AgentError, CapabilityError
from chaos.faults.disk import SickDisk
from chaos.model import Aimed, DiskFault, Node, Power, Process, Proof, Topology
from chaos.targets.netns import disks
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns
from tests.leftovers import await_true

pytestmark = [
    pytest.mark.alone,
    pytest.mark.real,
    pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not() or "there"),
]

PATIENCE_S = 40.0
SLOW = DiskFault(ops=("write", "sync"), delay_s=0.03, trials=20)
WRITER = """
import os, time
synced = os.open("synced", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
loose = os.open("loose", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
while True:
    for fd in (synced, loose):
        try:
            os.write(fd, b"x" * 100)
        except OSError as error:
            print(error.errno, flush=True)
    os.fsync(synced)
    time.sleep(0.01)
"""


def sick(**settings):
    """Return the action of a fault with these settings."""
    (aimed,) = SickDisk(**settings).aim([Node(name="n1", role="member", address="")], Topology(nodes=()))
    return aimed.action


@contextmanager
def lab(tmp_path, *, disk=True):
    nodes = [NodeSpec(name=name, role="member", disk=disk) for name in ("n1", "n2", "n3")]
    with open_netns(nodes, base=tmp_path / "labs", evidence=tmp_path / "evidence") as target:
        folder = target.folder("n1")
        argv = (sys.executable, "-c", WRITER)
        target.start("n1", Process(name="writer", argv=argv, cwd=str(folder), log=str(tmp_path / "n1.log")))
        await_true("something is written", lambda: size(target, "synced") > 1000, within_s=PATIENCE_S)
        yield target


def size(target, name):
    """Return the length of a file as it lies on the machine's own file system, beside the mount."""
    path = target.folder("n1") / name
    return path.stat().st_size if path.exists() else 0


def evidence_of(injection, phase, proof=None):
    """Wait for the next evidence of a phase (and proof)."""
    seen = []
    while True:
        try:
            one = injection.events.get(timeout=PATIENCE_S)
        except Empty:
            raise AssertionError(f"no {proof or 'evidence'} in phase {phase}; seen: {seen}") from None
        seen.append(one)
        if one.phase == phase and proof in (None, one.proof):
            return one


def injected(target, action, node="n1"):
    return target.inject([Aimed(subject=node, action=action)], deadline_s=60)


def state(target, node="n1"):
    return trying.ask(target.lab.disk(node), {"op": "state"})


@pytest.mark.parametrize(
    "action",
    [
        SLOW,
        DiskFault(ops=("read",), delay_s=0.03, trials=20),
        DiskFault(ops=("meta",), delay_s=0.03, trials=20),
        sick(latency_s=0.02, share=0.2, of=("write",)),
        sick(error="EIO", share=0.2, of=("sync",)),
        DiskFault(ops=("write",), error="ENOSPC", trials=20),
    ],
    ids=["slow", "slow reads", "slow names", "a slow share", "a faulty share", "full"],
)
def test_a_sick_disk_is_confirmed_and_its_heal_is_proved(tmp_path, action):
    with lab(tmp_path) as target:
        injection = injected(target, action)
        confirmed, watched = evidence_of(injection, "confirm"), evidence_of(injection, "watch")
        healed = injection.heal().result(PATIENCE_S)
        assert [one.proof for one in (confirmed, watched, healed)] == [Proof.CONFIRMED] * 3, (confirmed, watched)
        assert state(target)["faults"] == {}
        assert not list(target.folder("n1").glob(f"{trying.TRIAL}*"))


def test_whoever_writes_on_the_node_meets_it_and_nobody_else(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, DiskFault(ops=("write",), error="ENOSPC", trials=5))
        log = tmp_path / "n1.log"
        await_true("the writer hears of it", lambda: str(errno.ENOSPC) in log.read_text(), within_s=PATIENCE_S)
        assert state(target, "n2")["faults"] == {}
        injection.heal().result(PATIENCE_S)
        before = size(target, "synced")
        await_true("it is written again", lambda: size(target, "synced") > before, within_s=PATIENCE_S)


def test_half_of_what_was_asked_is_a_mismatch(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, SLOW)
        rule = {"ops": ["write", "sync"], "share": 1, "delay_ns": 10_000_000, "errno": 0}
        name = next(iter(state(target)["faults"]))
        trying.ask(target.lab.disk("n1"), {"op": "add", "name": name, "fault": rule, "seed": 1})
        assert "accepted are" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_rule_that_somebody_takes_away_is_seen(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, SLOW)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        (name,) = state(target)["faults"]
        trying.ask(target.lab.disk("n1"), {"op": "remove", "name": name})
        assert "holds no rule" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_disk_whose_program_dies_is_told_and_no_heal_of_it_is_proved(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, SLOW)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        control = target.lab.disk("n1").encode()
        (pid,) = [int(p.name) for p in Path("/proc").glob("[0-9]*") if control in cmdline(p)]
        os.kill(pid, signal.SIGKILL)
        assert "does not answer" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.INCONCLUSIVE


def cmdline(proc):
    try:
        return (proc / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def test_what_a_killed_agent_held_is_healed_from_its_journal(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, SLOW)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        os.kill(target.client._questions._channel.pid, signal.SIGKILL)
        assert "agent" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        assert journal.read(target.lab.folder / "journal") == []


def test_a_power_loss_takes_what_was_not_synced_and_nothing_else(tmp_path):
    with lab(tmp_path) as target:
        await_true("enough is written", lambda: size(target, "loose") > 3000, within_s=PATIENCE_S)
        injection = injected(target, Power(unsynced_lost=True))
        confirmed = evidence_of(injection, "confirm")
        loose, synced = size(target, "loose"), size(target, "synced")
        time.sleep(0.2)  # a kernel that wrote late would do so now
        assert (size(target, "loose"), size(target, "synced")) == (loose, synced)
        assert loose == 0
        assert synced > 3000 - 200
        assert state(target)["lost_bytes"] > 3000 - 200
        healed = injection.heal().result(PATIENCE_S)
        assert [confirmed.proof, healed.proof] == [Proof.CONFIRMED] * 2, confirmed
        await_true("it is written again", lambda: size(target, "loose") > 0, within_s=PATIENCE_S)


def test_a_power_loss_without_a_disk_of_ours_loses_nothing_and_one_that_should_is_refused(tmp_path):
    with lab(tmp_path, disk=False) as target:
        for action in (Power(unsynced_lost=True), SLOW):
            with pytest.raises(CapabilityError, match="no program of ours serves this lab"):
                injected(target, action)
        before = size(target, "loose")
        injection = injected(target, Power())
        assert evidence_of(injection, "confirm").proof is Proof.CONFIRMED
        assert size(target, "loose") >= before > 0
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_node_on_which_nothing_runs_is_refused(tmp_path):
    with lab(tmp_path) as target, pytest.raises(AgentError, match="nothing runs on n2"):
        injected(target, SLOW, "n2")


def test_nothing_is_mounted_here(tmp_path):
    with lab(tmp_path) as target:
        assert str(target.lab.folder) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
