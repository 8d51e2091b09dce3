"""Pods by their cgroups: real processes, in folders named as kubelets name them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from chaos.agent import journal, pods, replay, standby
from chaos.agent.groupfiles import own_file
from chaos.agent.journal import Journal, Record
from chaos.errors import AgentError
from tests.leftovers import await_true

UID = "0a1b2c3d-1111-2222-3333-444455556666"
LAYOUTS = {
    "cgroupfs": f"kubepods/besteffort/pod{UID}/{'c' * 64}",
    "cgroupfs, guaranteed": f"kubepods/pod{UID}/{'c' * 64}",
    "systemd": "kubepods.slice/kubepods-burstable.slice/"
    f"kubepods-burstable-pod{UID.replace('-', '_')}.slice/cri-containerd-{'c' * 64}.scope",
    "below another root": f"chaosgate-1/node1/kubepods/burstable/pod{UID}/{'c' * 64}",
}


@pytest.fixture
def process():
    """A process of its own, which sleeps."""
    one = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"], stdout=-1)
    one.stdout.readline()
    yield one
    one.kill()
    one.wait()
    one.stdout.close()


@pytest.fixture
def machine(tmp_path, monkeypatch, process):
    """A machine with one pod, whose container is that process."""
    monkeypatch.setattr(pods, "CGROUPS", tmp_path)
    place(tmp_path / "cpu" / LAYOUTS["cgroupfs"], process.pid)
    return pods.Pods(uids={"web-0": UID})


def place(folder, *pids):
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pod_is_found_by_its_uid_however_it_is_named(tmp_path, monkeypatch, process, layout):
    monkeypatch.setattr(pods, "CGROUPS", tmp_path)
    place(tmp_path / "freezer" / LAYOUTS[layout], process.pid)
    place(tmp_path / "freezer" / LAYOUTS[layout].replace("0a1b2c3d", "0a1b2c3e"), os.getpid())
    assert pods.members(UID) == [process.pid]
    assert pods.anyone(UID) == process.pid


def test_what_is_no_pod_has_no_processes(machine):
    assert pods.members(UID.replace("0", "9")) == []
    assert pods.anyone(UID.replace("0", "9")) == 0


def test_the_process_that_pauses_is_none_of_the_pods(tmp_path, monkeypatch, process):
    monkeypatch.setattr(pods, "CGROUPS", tmp_path)
    monkeypatch.setattr(pods, "PAUSE", pods.comm(process.pid))
    place(tmp_path / LAYOUTS["cgroupfs"], process.pid)
    assert pods.members(UID) == []
    assert pods.anyone(UID) == process.pid, "it holds the pod's network"


def test_a_row_says_when_a_process_was_started(machine, process):
    (row,) = machine.call("web-0", {"op": "ps"})["processes"]
    assert (row["pid"], row["exit_code"], row["last"], row["stopped"]) == (process.pid, None, None, False)
    assert 0 <= time.monotonic_ns() - row["started_ns"] < 60e9


def test_what_is_killed_is_seen_to_end_and_told_until_it_is_back(machine, process, tmp_path):
    (before,) = machine.rows("web-0")
    assert machine.call("web-0", {"op": "signal", "name": "", "signal": "KILL"})["signalled"] == [before["name"]]
    process.wait()
    (row,) = machine.rows("web-0")
    assert (row["exit_code"], row["starts"], row["killed"]) == (-signal.SIGKILL, before["starts"], True)
    assert row["ended_ns"] >= before["started_ns"]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as again:
        await_true("it is python", lambda: pods.comm(again.pid) == before["name"], within_s=10)
        procs = next((tmp_path / "cpu").rglob("cgroup.procs"))
        procs.write_text(f"{again.pid}\n")
        (back,) = machine.rows("web-0")
        again.kill()
    assert (back["pid"], back["exit_code"], back["last"]["starts"]) == (again.pid, None, before["starts"])
    assert back["starts"] != before["starts"]


def test_what_is_stopped_goes_on_by_cont(machine, process):
    machine.call("web-0", {"op": "signal", "name": "", "signal": "STOP"})
    await_true("it stands still", lambda: machine.rows("web-0")[0]["stopped"], within_s=5)
    machine.call("web-0", {"op": "cont_all"})
    await_true("it goes on", lambda: not machine.rows("web-0")[0]["stopped"], within_s=5)


def test_only_the_named_process_is_signalled(machine):
    assert machine.call("web-0", {"op": "signal", "name": "nobody", "signal": "KILL"}) == {"signalled": []}
    assert machine.rows("web-0")[0]["exit_code"] is None


def test_what_is_no_pods_business_is_refused(machine):
    with pytest.raises(AgentError, match="not for a pod"):
        machine.call("web-0", {"op": "start"})


def test_two_of_a_name_are_told_apart_and_who_lives_keeps_its_name(machine, process):
    def named(*pids):
        return {main.pid: main.name for main in machine.mains_of(UID, pids)}

    comm = pods.comm(process.pid)
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeps) as other, subprocess.Popen(sleeps) as third:
        for one in (other, third):
            await_true("it is python", lambda pid=one.pid: pods.comm(pid) == comm, within_s=10)
        assert named(process.pid, other.pid) == {process.pid: comm, other.pid: f"{comm}#2"}
        assert named(other.pid) == {other.pid: f"{comm}#2"}, "the first one is down"
        assert named(third.pid, other.pid) == {third.pid: comm, other.pid: f"{comm}#2"}, "and comes back as another"
        other.kill()
        third.kill()


def test_a_container_is_known_by_its_id(tmp_path, monkeypatch):
    text = f"0::/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{'ab' * 32}.scope\n"
    monkeypatch.setattr(pods.Path, "read_text", lambda *_, **__: text)
    assert pods.container(1) == "ab" * 32


def test_a_pod_with_the_machines_network_is_refused(machine, process):
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    with pytest.raises(AgentError, match="hostNetwork"):
        pods.place("web-0", "10.0.0.1", UID, here)
    os.close(here)


def test_a_pod_that_is_not_here_is_refused(machine):
    with pytest.raises(AgentError, match="no process of pod"):
        pods.place("web-0", "10.0.0.1", UID.replace("0", "9"), -1)


# ---------------------------------------------------------------- the standby


@pytest.fixture
def left(tmp_path):
    """What an agent left that was killed while a pod stood still."""
    folder = tmp_path / "journal"
    book = Journal(folder)
    undo = {"name": "i1.0", "subject": "web-0", "process": "", "signal": "STOP", "processes": [], "ports": []}
    book.write(Record(name="i1.0", kind="signal", undo=undo))
    nodes = [{"name": "web-0", "address": "10.0.0.1", "pod": UID}, {"name": "web-1", "address": "10.0.0.2", "pod": ""}]
    replay.note_ground(folder, {"lab_socket": "", "nodes": nodes})
    yield book
    book.close()


def test_a_standby_waits_while_an_agent_lives_and_undoes_what_it_leaves(machine, process, left, capsys):
    machine.call("web-0", {"op": "stop_all"})
    await_true("it stands still", lambda: machine.rows("web-0")[0]["stopped"], within_s=5)
    assert standby.look(left.folder) == []
    assert machine.rows("web-0")[0]["stopped"]
    left.close()
    assert standby.look(left.folder) == ["i1.0"]
    await_true("it goes on", lambda: not machine.rows("web-0")[0]["stopped"], within_s=5)
    assert journal.read(left.folder) == []
    assert "its agent had died" in capsys.readouterr().out


def test_of_a_pod_that_is_gone_nothing_is_left_to_undo(tmp_path, monkeypatch, left):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(pods, "CGROUPS", tmp_path / "empty")
    left.close()
    assert standby.look(left.folder) == ["i1.0"]


def test_a_machine_without_cgroups_is_no_machine_without_pods(tmp_path, monkeypatch, left):
    monkeypatch.setattr(pods, "CGROUPS", tmp_path / "not mounted")
    left.close()
    assert standby.look(left.folder) == []
    assert [record.name for record in journal.read(left.folder)] == ["i1.0"]


def test_a_standby_ends_when_it_is_told_to(tmp_path):
    argv = [sys.executable, "-m", "chaos.agent", "standby", str(tmp_path / "journal")]
    with subprocess.Popen(argv) as one:
        await_true("it looks", (tmp_path / "journal").exists, within_s=20)
        one.terminate()
        assert one.wait(20) == 0


# ---------------------------------------------------------------- files of cgroups


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pods_own_file_is_believed(tmp_path, layout):
    path = (tmp_path / LAYOUTS[layout]).parent / "cpu.max"
    path.parent.mkdir(parents=True)
    path.write_text("max 100000")
    assert own_file(str(path), "web-0", "cpu.max", "cpu.cfs_quota_us") == path


@pytest.mark.parametrize(
    "name", ["cpu.max", "kubepods/cpu.max", f"pod{UID}/cpu.weight", "podx/cpu.max", f"pod{UID}/../cpu.max"]
)
def test_any_other_file_is_not(tmp_path, name):
    with pytest.raises(AgentError, match="nothing is written there"):
        own_file(str(tmp_path / name), "web-0", "cpu.max")
