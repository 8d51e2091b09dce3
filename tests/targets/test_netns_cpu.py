"""Less CPU time for a node of a real lab: held back by its own kernel, measured, and given back. And every no."""

from __future__ import annotations

import math
import os
import signal
import sys
from contextlib import contextmanager
from queue import Empty

import pytest

from chaos.agent import journal
from chaos.agent.actions import cpu
from chaos.errors import AgentError, CapabilityError
from chaos.model import Aimed, CpuQuota, Process, Proof
from chaos.targets.netns import cgroups
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns
from tests.leftovers import await_true

pytestmark = [
    pytest.mark.alone,
    pytest.mark.real,
    pytest.mark.skipif(not cgroups.parents().limits_cpu, reason="no cgroup cpu controller is ours to use"),
]

PATIENCE_S = 40.0
BUSY = "print('begun', flush=True)\nwhile True: pass"
IDLE = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(60)"
TENTH = CpuQuota(cores=0.1)


@contextmanager
def lab(tmp_path, does=BUSY, limit: float | None = math.inf):
    nodes = [NodeSpec(name=name, role="member", cpu_limit=limit) for name in ("n1", "n2", "n3")]
    with open_netns(nodes, base=tmp_path / "labs", evidence=tmp_path / "evidence") as target:
        argv = (sys.executable, "-c", does)
        log = tmp_path / "n1.log"
        target.start("n1", Process(name="server", argv=argv, log=str(log)))
        await_true("it has begun", lambda: log.exists() and log.read_text(), within_s=PATIENCE_S)
        yield target


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


def injected(target, action=TENTH):
    return target.inject([Aimed(subject="n1", action=action)], deadline_s=60)


def quota_of(target):
    return target.lab.quota("n1")


def by_name(evidence, start):
    return next(one for one in evidence.measurements if one.name.startswith(start))


def test_a_busy_node_gets_what_was_asked_and_everything_back(tmp_path):
    with lab(tmp_path) as target:
        before = quota_of(target).read_text()
        injection = injected(target)
        confirmed, watched = evidence_of(injection, "confirm"), evidence_of(injection, "watch")
        assert cpu.cores(quota_of(target)) == pytest.approx(0.1)
        healed = injection.heal().result(PATIENCE_S)
        assert [one.proof for one in (confirmed, watched, healed)] == [Proof.CONFIRMED] * 3, confirmed
        assert by_name(confirmed, "CPU time").got < 0.2
        assert quota_of(target).read_text() == before
        assert injected(target).heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_node_that_wants_no_more_was_not_hit(tmp_path):
    with lab(tmp_path, IDLE) as target:
        injection = injected(target)
        confirmed = evidence_of(injection, "confirm")
        assert confirmed.proof is Proof.INCONCLUSIVE
        assert "wanted no more than it may have" in confirmed.detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_quota_that_somebody_takes_away_is_seen(tmp_path):
    with lab(tmp_path) as target:
        before = quota_of(target).read_text()
        injection = injected(target)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        quota_of(target).write_text(before)
        assert "quota of n1" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_limit_that_was_there_is_what_comes_back(tmp_path):
    with lab(tmp_path, limit=0.5) as target:
        injection = injected(target)
        assert evidence_of(injection, "confirm").proof is Proof.CONFIRMED
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        assert cpu.cores(quota_of(target)) == pytest.approx(0.5)


def test_what_a_killed_agent_held_is_healed_from_its_journal(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        os.kill(target.client._questions._channel.pid, signal.SIGKILL)
        assert "agent" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        assert cpu.cores(quota_of(target)) is None
        assert journal.read(target.lab.folder / "journal") == []


def test_a_node_without_a_cgroup_of_its_own_is_refused(tmp_path):
    with lab(tmp_path, limit=None) as target:
        with pytest.raises(CapabilityError, match="no node of this lab has a CPU quota"):
            injected(target)
        if not cgroups.parents().cpu_v2:
            assert quota_of(target) is None


def test_a_node_on_which_nothing_runs_is_refused(tmp_path):
    with lab(tmp_path) as target, pytest.raises(AgentError, match="nothing runs on n2"):
        target.inject([Aimed(subject="n2", action=TENTH)], deadline_s=60)


@pytest.mark.parametrize("path", ["/etc/passwd", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])
def test_a_record_of_a_file_that_is_no_quota_of_a_lab_is_not_believed(path):
    record = {"name": "i1.0", "subject": "n1", "quota": path, "before": "x"}
    with pytest.raises(AgentError, match="nothing is written there"):
        cpu.undo(None, record)
