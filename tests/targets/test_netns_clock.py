"""A wall clock of a node's own on a real lab: wrong as asked, read from inside, and right again. And every no."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import pytest

from chaos.agent import journal
from chaos.errors import AgentError, CapabilityError
from chaos.model import Aimed, ClockSkew, Process, Proof
from chaos.targets.netns import clocks
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns
from tests.leftovers import await_true

pytestmark = [
    pytest.mark.alone,
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, of a user namespace at least"),
    pytest.mark.skipif(bool(clocks.why_not()), reason=clocks.why_not() or "there"),
]

PATIENCE_S = 40.0
# Not time.sleep: libfaketime 0.9.10 takes the absolute times of clock_nanosleep(2) for its own, and refuses them.
TELLS = """
import select, time
while True:
    print(time.time(), time.monotonic(), flush=True)
    select.select([], [], [], 0.05)
"""


@contextmanager
def lab(tmp_path, *, clock=True):
    nodes = [NodeSpec(name=name, role="member", clock=clock) for name in ("n1", "n2", "n3")]
    with open_netns(nodes, base=tmp_path / "labs", evidence=tmp_path / "evidence") as target:
        for node in ("n1", "n2"):
            process = Process(name="clock", argv=(sys.executable, "-c", TELLS), log=str(tmp_path / f"{node}.log"))
            target.start(node, process)
            await_true(f"{node} tells the time", lambda node=node: ahead(tmp_path, node)[0], within_s=PATIENCE_S)
        yield target


def ahead(tmp_path, node):
    """Return how far a server's own clocks, wall and monotonic, are ahead of ours by its last line, in seconds."""
    lines = (tmp_path / f"{node}.log").read_text().splitlines()
    last = [line.split() for line in lines if len(line.split()) == 2][-1:]
    offset = time.time() - time.monotonic()
    return [float(wall) - float(mono) - offset for wall, mono in last] or [None]


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


def injected(target, offset_s):
    return target.inject([Aimed(subject="n1", action=ClockSkew(offset_s=offset_s))], deadline_s=60)


def offset_file(target, node="n1"):
    return Path(target.lab.clock(node)["FAKETIME_TIMESTAMP_FILE"])


@pytest.mark.parametrize("offset_s", [30.0, -3600.0, 0.5])
def test_a_node_s_clock_is_wrong_for_its_server_and_for_nobody_else(tmp_path, offset_s):
    with lab(tmp_path) as target:
        injection = injected(target, offset_s)
        confirmed, watched = evidence_of(injection, "confirm"), evidence_of(injection, "watch")
        theirs, others = ahead(tmp_path, "n1"), ahead(tmp_path, "n2")
        healed = injection.heal().result(PATIENCE_S)
        assert [one.proof for one in (confirmed, watched, healed)] == [Proof.CONFIRMED] * 3, confirmed
        assert theirs == [pytest.approx(offset_s, abs=0.2)]
        assert others == [pytest.approx(0.0, abs=0.2)]
        await_true("n1 is right again", lambda: abs(ahead(tmp_path, "n1")[0]) < 0.2, within_s=PATIENCE_S)


def test_a_clock_that_somebody_sets_right_is_seen(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, 30.0)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        offset_file(target).write_text("+0\n")
        assert "wall clock of n1" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_server_that_reads_another_clock_is_a_mismatch(tmp_path):
    with lab(tmp_path) as target:
        argv = ("env", "-u", "LD_PRELOAD", sys.executable, "-c", TELLS)
        target.start("n1", Process(name="blind", argv=argv, log=str(tmp_path / "blind.log")))
        injection = injected(target, 30.0)
        assert "blind: without libfaketime" in evidence_of(injection, "confirm", Proof.MISMATCH).detail
        injection.heal().exception(PATIENCE_S)


def test_what_a_killed_agent_held_is_healed_from_its_journal(tmp_path):
    with lab(tmp_path) as target:
        injection = injected(target, 30.0)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        os.kill(target.client._questions._channel.pid, signal.SIGKILL)
        assert "agent" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        assert offset_file(target).read_text() == "+0\n"
        assert journal.read(target.lab.folder / "journal") == []


def test_a_static_program_is_refused(tmp_path):
    static = tmp_path / "static"
    static.write_bytes(elf(interpreted=False))
    static.chmod(0o755)
    with lab(tmp_path) as target, pytest.raises(CapabilityError, match="statically linked and asks the kernel itself"):
        target.start("n3", Process(name="etcd", argv=(str(static),), log=str(tmp_path / "static.log")))


def elf(*, interpreted):
    """Return the head of a 64-bit ELF program of two segments, one of them naming ld.so if `interpreted`."""
    head = bytearray(64 + 2 * 56)
    head[:5] = b"\x7fELF\x02"
    head[32:40] = (64).to_bytes(8, "little")  # e_phoff
    head[54:58] = (56).to_bytes(2, "little") + (2).to_bytes(2, "little")  # e_phentsize, e_phnum
    head[64], head[64 + 56] = 1, 3 if interpreted else 2  # p_type: PT_LOAD, then PT_INTERP or PT_DYNAMIC
    return bytes(head)


@pytest.mark.parametrize(
    ("content", "static"), [(elf(interpreted=False), True), (elf(interpreted=True), False), (b"#!/bin/sh\n", False)]
)
def test_a_static_program_is_one_without_an_interpreter(tmp_path, content, static):
    path = tmp_path / "program"
    path.write_bytes(content)
    assert clocks.is_static(path) is static
    assert not clocks.is_static(Path(sys.executable).resolve())


def test_nodes_with_the_machine_s_clock_are_refused(tmp_path):
    with (
        lab(tmp_path, clock=False) as target,
        pytest.raises(CapabilityError, match="open it with clocks"),
    ):
        injected(target, 30.0)


def test_a_node_on_which_nothing_runs_is_refused(tmp_path):
    with lab(tmp_path) as target, pytest.raises(AgentError, match="nothing runs on n3"):
        target.inject([Aimed(subject="n3", action=ClockSkew(offset_s=1.0))], deadline_s=60)


def test_looking_at_a_clock_leaves_nothing_in_shared_memory(tmp_path):
    before = set(Path("/dev/shm").iterdir())  # noqa: S108 - where libfaketime would leave it
    with lab(tmp_path) as target:
        injection = injected(target, 30.0)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        injection.heal().result(PATIENCE_S)
    assert set(Path("/dev/shm").iterdir()) <= before  # noqa: S108 - as above
