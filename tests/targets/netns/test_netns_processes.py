"""Processes of a node: started, signalled, revived, seen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from chaos.errors import TargetError
from chaos.model import Process
from chaos.targets.netns import wire
from tests.leftovers import await_true
from tests.targets.netns.asking import (
    SLEEP,
    as_root,
    ask,
    exists,
    row,
    stat,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not as_root, reason="ordinary users: test_netns_unprivileged.py")]

GLIBCS_OWN = 0b11 << 31  # signals 32 and 33: reserved, and out of every program's reach (signal(7))


def test_a_process_is_started_logged_and_seen(lab, name, tmp_path):
    log = tmp_path / "deep" / "log"
    command = Process(name=name, argv=("sh", "-c", "echo $WHAT in $PWD; exec sleep 1000"), env={"WHAT": "here"})
    command = Process(name=name, argv=command.argv, env=command.env, cwd=str(tmp_path), log=str(log))
    state = lab.start("a", command)
    await_true("it logs", lambda: log.read_text() == f"here in {tmp_path}\n")
    assert state in lab.processes()
    assert Path(f"/proc/{state.pid}/exe").readlink().name == "sleep"
    assert row(lab, "a", name)["stopped"] is False


def test_a_process_that_cannot_start_says_why(lab, name):
    with pytest.raises(TargetError, match=r"can't start '/no/such/program'.*No such file"):
        lab.start("a", Process(name=name, argv=("/no/such/program",)))
    with pytest.raises(TargetError, match="needs a name and an argv"):
        lab.start("a", Process(name=name, argv=()))


def test_a_name_that_runs_cannot_be_started_again(lab, name):
    lab.start("a", Process(name=name, argv=SLEEP))
    with pytest.raises(TargetError, match="runs already"):
        lab.start("a", Process(name=name, argv=SLEEP))


def test_the_end_of_a_process_is_seen_with_its_code_and_time(lab, name):
    before_ns = time.monotonic_ns()
    lab.start("a", Process(name=name, argv=("sh", "-c", "exit 7")))
    await_true("it ended", lambda: row(lab, "a", name)["exit_code"] is not None)
    state = next(s for s in lab.processes() if s.name == name)
    assert state.exit_code == 7
    assert before_ns < state.started_ns
    assert state.ended_ns is not None
    assert state.started_ns - 1_000_000_000 < state.ended_ns < time.monotonic_ns()


def test_stop_is_gentle_first(lab, name):
    lab.start("a", Process(name=name, argv=SLEEP))
    assert lab.stop("a", name, grace_s=5).exit_code == -signal.SIGTERM


def test_stop_kills_what_will_not_go(lab, name, tmp_path):
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 1000; done"
    lab.start("a", Process(name=name, argv=("sh", "-c", f"setsid sh -c 'exec sleep 1000' & {script}")))
    await_true("it is deaf", ready.exists)
    lab.node_call("a", {"op": "signal", "name": name, "signal": "STOP"})
    assert lab.stop("a", name, grace_s=0.1).exit_code == -signal.SIGKILL


def test_what_was_stopped_for_good_is_not_revived(lab, name):
    lab.start("a", Process(name=name, argv=SLEEP))
    lab.stop("a", name, grace_s=5)
    assert ask(lab, "a", "revive", name=name) == {"revived": []}


def test_a_killed_process_is_revived_once(lab, name):
    first = lab.start("a", Process(name=name, argv=SLEEP))
    assert ask(lab, "a", "signal", name=name, signal="KILL") == {"signalled": [name]}
    assert ask(lab, "a", "revive", name=name) == {"revived": [name]}
    second = row(lab, "a", name)
    assert (second["starts"], second["exit_code"]) == (2, None)
    assert second["pid_host"] != first.pid
    assert ask(lab, "a", "revive", name=name) == {"revived": []}
    assert not exists(first.pid)


def test_what_ended_by_itself_is_not_revived(lab, name):
    lab.start("a", Process(name=name, argv=("true",)))
    await_true("it ended", lambda: row(lab, "a", name)["exit_code"] == 0)
    assert ask(lab, "a", "signal", name=name, signal="KILL") == {"signalled": []}
    assert ask(lab, "a", "revive", name="") == {"revived": []}


def test_a_signal_to_all_hits_all_of_the_node_and_no_other(lab, name):
    lab.start("b", Process(name=f"{name}-1", argv=SLEEP))
    lab.start("b", Process(name=f"{name}-2", argv=SLEEP))
    lab.start("c", Process(name=name, argv=SLEEP))
    assert {f"{name}-1", f"{name}-2"} <= set(ask(lab, "b", "signal", name="", signal="KILL")["signalled"])
    await_true("both ended", lambda: all(row(lab, "b", f"{name}-{i}")["exit_code"] == -9 for i in (1, 2)))
    assert row(lab, "c", name)["exit_code"] is None


def test_a_stopped_process_is_seen_as_stopped(lab, name):
    lab.start("a", Process(name=name, argv=SLEEP))
    ask(lab, "a", "signal", name=name, signal="STOP")
    await_true("it is stopped", lambda: row(lab, "a", name)["stopped"])
    assert next(r for r in ask(lab, "", "ps")["processes"] if r["name"] == name)["stopped"]
    ask(lab, "a", "signal", name=name, signal="CONT")
    await_true("it goes on", lambda: not row(lab, "a", name)["stopped"])


@pytest.mark.parametrize(
    ("node", "request_", "what"),
    [
        ("a", {"op": "dance"}, "no op 'dance'; a node knows start"),
        ("", {"op": "dance"}, "no op 'dance'; a lab knows nodes"),
        ("", {"op": "boot", "node": "z"}, "no node 'z'; there are: a, b, c"),
        ("a", {"op": "signal", "name": "nobody", "signal": "KILL"}, "no process 'nobody'"),
        ("a", {"op": "signal", "name": "", "signal": "SEGV"}, "no signal 'SEGV'"),
        ("a", {"op": "signal"}, "KeyError"),
    ],
)
def test_a_bad_request_is_answered_and_the_init_lives_on(lab, node, request_, what):
    with pytest.raises(TargetError, match=what):
        lab.node_call(node, request_)
    assert "processes" in ask(lab, node, "ps")


def test_an_asker_who_says_nothing_holds_nobody_up_for_long(lab):
    with socket.socket(socket.AF_UNIX) as mute, wire.short(lab.socket_of("a")) as address:
        mute.connect(address)
        assert "processes" in ask(lab, "a", "ps")


def test_orphans_are_reaped(lab, name, tmp_path):
    pids = tmp_path / "pids"
    script = f"for i in 1 2 3; do (setsid sh -c 'readlink /proc/self >> {pids}' &) ; done; exec sleep 1000"
    state = lab.start("a", Process(name=name, argv=("sh", "-c", script)))
    await_true("all three ran", lambda: pids.exists() and len(pids.read_text().split()) == 3)
    init = int(stat(state.pid)[1])
    await_true("no zombie is left with the init", lambda: "Z" not in states_below(init))


def states_below(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = []
    for child in children:
        with contextlib.suppress(OSError):  # reaped meanwhile
            states.append(stat(child)[0])
    return states


def test_a_node_has_its_own_tmp_and_sees_what_its_command_names(lab, name, tmp_path):
    tmp = Path("/tmp")  # noqa: S108 - the very folder this is about
    secret = tmp / f"chaosgate-test-{os.getpid()}"
    out, mine = tmp_path / "out", f"{secret.name}-mine"
    secret.write_text("the machine's")
    try:
        script = f"ls {tmp}; echo x > {tmp}/{mine}"
        lab.start("a", Process(name=name, argv=("sh", "-c", script), log=str(out)))
        await_true("it ended", lambda: row(lab, "a", name)["exit_code"] == 0)
    finally:
        secret.unlink()
    assert secret.name not in out.read_text().split()
    assert not (tmp / mine).exists()


def test_a_data_folder_is_the_same_path_on_the_node(lab, name):
    file = lab.folder_of("a") / "file"
    lab.start("a", Process(name=name, argv=("touch", str(file))))
    await_true("the file is here", file.exists)


def test_a_process_keeps_no_descriptor_of_the_lab(lab, name):
    state = lab.start("a", Process(name=name, argv=SLEEP))
    assert {fd.name for fd in Path(f"/proc/{state.pid}/fd").iterdir()} == {"0", "1", "2"}


def test_a_process_ignores_no_signal_that_its_init_does(lab, name):
    state = lab.start("a", Process(name=name, argv=SLEEP))
    ignored = next(line for line in Path(f"/proc/{state.pid}/status").read_text().splitlines() if "SigIgn" in line)
    assert int(ignored.split()[1], 16) & ~GLIBCS_OWN == 0
