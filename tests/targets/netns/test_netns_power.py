"""Nodes lose power and boot, are stopped, frozen and slowed."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from chaos.errors import TargetError
from chaos.model import Process
from chaos.targets.netns import cgroups
from chaos.targets.netns.lab import Lab, NodeSpec
from tests.leftovers import assert_nothing_left, await_true, snapshot
from tests.targets.netns.asking import (
    SLEEP,
    as_root,
    ask,
    exists,
    inside,
    namespace,
    nodes,
    pids_in,
    reaches,
    row,
    stopped,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not as_root, reason="ordinary users: test_netns_unprivileged.py")]


def test_power_takes_daemons_too_and_boot_brings_back_what_ran(lab, name, tmp_path):
    pid_file = tmp_path / "daemon"
    script = f"(setsid sh -c 'readlink /proc/self > {pid_file}; exec sleep 1000' &); exec sleep 1000"
    before = lab.start("c", Process(name=name, argv=("sh", "-c", script)))
    lab.start("c", Process(name=f"{name}-done", argv=("true",)))
    await_true("the daemon is up", lambda: pid_file.exists() and pid_file.read_text())
    members = pids_in(namespace(before.pid, "pid"))
    assert len(members) >= 3  # init, process, daemon
    began_ns = time.monotonic_ns()
    ended_ns = ask(lab, "", "poweroff", node="c")["ended_ns"]
    assert not any(exists(pid) for pid in members)
    assert began_ns < ended_ns < time.monotonic_ns()
    dead = next(s for s in lab.processes() if s.name == name)
    assert (dead.exit_code, dead.ended_ns) == (-signal.SIGKILL, ended_ns)
    booted = ask(lab, "", "boot", node="c")
    assert name in booted["booted"]
    assert f"{name}-done" not in booted["booted"]
    assert booted["failed"] == {}
    assert row(lab, "c", name)["starts"] == 2
    assert lab.node_call("", {"op": "boot", "node": "c"}) == {"booted": [], "failed": {}}


def test_a_node_without_power_is_silent_and_keeps_its_address(lab):
    address = lab.topology.node("c").address
    with lab.entered("c"), socket.socket() as server:
        server.bind((address, 4001))
        server.listen()
        ask(lab, "", "poweroff", node="c")
        try:
            assert not reaches(lab, "a", address)
            assert reaches(lab, "a", lab.topology.node("b").address)
            with pytest.raises(TargetError, match="has the node lost its power"):
                ask(lab, "c", "ps")
            assert ask(lab, "", "nodes")["nodes"]["c"]["up"] is False
            assert ask(lab, "", "poweroff", node="c")["ended_ns"] > 0
        finally:
            ask(lab, "", "boot", node="c")
    await_true("it is back", lambda: reaches(lab, "a", address))


def test_a_node_whose_init_is_killed_from_outside_has_lost_its_power(lab, name):
    lab.start("c", Process(name=name, argv=SLEEP))
    inside(lab, "", "kill", "-9", str(ask(lab, "", "nodes")["nodes"]["c"]["pid"]))
    await_true("it is seen", lambda: not ask(lab, "", "nodes")["nodes"]["c"]["up"])
    assert name in ask(lab, "", "boot", node="c")["booted"]


def test_a_boot_says_what_would_not_start_again(lab, name, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    lab.start("c", Process(name=name, argv=(str(program),)))
    ask(lab, "", "poweroff", node="c")
    program.unlink()
    failed = ask(lab, "", "boot", node="c")["failed"]
    assert "No such file" in failed[name]
    assert row(lab, "c", name)["exit_code"] == -signal.SIGKILL


def test_what_was_killed_before_the_power_went_waits_for_its_revival(lab, name):
    lab.start("c", Process(name=name, argv=SLEEP))
    ask(lab, "c", "signal", name=name, signal="KILL")
    await_true("it is dead", lambda: row(lab, "c", name)["exit_code"] == -9)
    ask(lab, "", "poweroff", node="c")
    assert name not in ask(lab, "", "boot", node="c")["booted"]
    assert name in ask(lab, "c", "revive", name=name)["revived"]


def test_stop_all_reaches_daemons_and_cont_all_leaves_what_a_signal_stopped(lab, name, tmp_path):
    pid_file = tmp_path / "daemon"
    script = f"(setsid sh -c 'readlink /proc/self > {pid_file}; exec sleep 1000' &); exec sleep 1000"
    leader = lab.start("b", Process(name=name, argv=("sh", "-c", script)))
    held = lab.start("b", Process(name=f"{name}-held", argv=SLEEP))
    await_true("the daemon is up", lambda: pid_file.exists() and pid_file.read_text())
    others = [pid for pid in pids_in(namespace(leader.pid, "pid")) if cmdline(pid)[:1] == ["sleep"]]
    assert len(others) >= 3
    ask(lab, "b", "signal", name=f"{name}-held", signal="STOP")
    ask(lab, "b", "stop_all")
    await_true("all are stopped", lambda: all(stopped(pid) for pid in others))
    ask(lab, "b", "cont_all")
    await_true("the others go on", lambda: not any(stopped(pid) for pid in others if pid != held.pid))
    await_true("the held one does not", lambda: stopped(held.pid))


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def frozen_events(freezer):
    return "frozen 1" in (freezer.parent / "cgroup.events").read_text()


@pytest.fixture
def freezer(lab):
    freezer = lab.freezer("b")
    if freezer is None:
        pytest.skip("no cgroup2 here: test_netns_unprivileged.py shows what works without")
    yield freezer
    freezer.write_text("0")


def test_a_frozen_node_still_tells_of_its_processes(lab, name, freezer):
    lab.start("b", Process(name=name, argv=SLEEP))
    freezer.write_text("1")
    await_true("it is frozen", lambda: frozen_events(freezer))
    assert row(lab, "b", name)["stopped"]
    assert next(r for r in ask(lab, "", "ps")["processes"] if r["name"] == name)["stopped"]
    with pytest.raises(TargetError, match="b is frozen; thaw it first"):
        lab.start("b", Process(name=f"{name}-2", argv=SLEEP))
    freezer.write_text("0")
    await_true("it goes on", lambda: not row(lab, "b", name)["stopped"])


def test_a_frozen_node_can_be_killed_and_lose_its_power(lab, name, freezer):
    lab.start("b", Process(name=name, argv=SLEEP))
    freezer.write_text("1")
    await_true("it is frozen", lambda: frozen_events(freezer))
    ask(lab, "b", "signal", name=name, signal="KILL")
    await_true("it is dead", lambda: row(lab, "b", name)["exit_code"] == -9)
    ask(lab, "", "poweroff", node="b")
    assert freezer.read_text() == "1\n"
    ask(lab, "", "boot", node="b")
    assert not frozen_events(freezer)


def test_a_lab_with_a_frozen_node_goes_away(tmp_path):
    before = snapshot([tmp_path])
    with Lab.open(nodes("a"), base=tmp_path) as lab:
        freezer = lab.freezer("a")
        if freezer is None:
            pytest.skip("no cgroup2 here")
        lab.start("a", Process(name="p", argv=SLEEP))
        freezer.write_text("1")
    assert_nothing_left(before, [tmp_path])


def test_every_process_of_a_node_is_in_its_cgroup_and_no_helper_is(lab, name, freezer):
    state = lab.start("b", Process(name=name, argv=("sh", "-c", "setsid sleep 1000 & wait")))
    await_true("child and parent", lambda: len((freezer.parent / "cgroup.procs").read_text().split()) >= 2)
    assert f"chaosgate-{lab.id}/b" in Path(f"/proc/{state.pid}/cgroup").read_text()
    assert "chaosgate" not in inside(lab, "b", "cat", "/proc/self/cgroup")[1]


def test_a_cpu_limit_holds(tmp_path):
    if not cgroups.parents().limits_cpu:
        pytest.skip("no cpu controller here")
    burn = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    with Lab.open([NodeSpec(name="slow", cpu_limit=0.1), NodeSpec(name="fast")], base=tmp_path) as lab:
        log = tmp_path / "log"
        lab.start("slow", Process(name="p", argv=(sys.executable, "-c", burn), log=str(log)))
        await_true("it ended", lambda: row(lab, "slow", "p")["exit_code"] is not None, within_s=30)
        assert float(log.read_text()) < 0.5  # about 0.1 s in a second
