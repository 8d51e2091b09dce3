"""The embedded lab, with real namespaces and processes."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chaos.errors import CapabilityError, TargetError, UsageError
from chaos.model import Process
from chaos.targets.netns import cgroups, wire
from chaos.targets.netns import lab as lab_module
from chaos.targets.netns.lab import CAPABILITIES, Lab, NodeSpec
from tests.leftovers import assert_nothing_left, await_true, snapshot

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="test_netns_unprivileged.py is for ordinary users"),
]
SLEEP = ("sleep", "1000")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab.open(nodes("a", "b", "c"), base=tmp_path_factory.mktemp("labs")) as lab:
        yield lab


@pytest.fixture
def name(request):
    """Name a process after its test: tests share a lab."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name)


def nodes(*names):
    return [NodeSpec(name=name, role="member") for name in names]


def row(lab, node, name):
    return next(r for r in lab.node_call(node, {"op": "ps"})["processes"] if r["name"] == name)


def ask(lab, at, op, **more):
    return lab.node_call(at, {"op": op, **more})


def exists(pid):
    return Path(f"/proc/{pid}").exists()


def inside(lab, node, *argv):
    """Run a command on the node's network; return (exit code, output)."""
    with lab.spawn(node, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        out, _ = process.communicate(timeout=20)
    return process.returncode, out.decode()


def reaches(lab, source, address):
    return inside(lab, source, "ping", "-c1", "-W1", address)[0] == 0


# ---------------------------------------------------------------- up and down


def test_a_lab_leaves_nothing_behind(tmp_path):
    before = snapshot([tmp_path])
    with Lab.open(nodes("a", "b"), base=tmp_path) as lab:
        lab.start("a", Process(name="p", argv=SLEEP))
        ask(lab, "", "poweroff", node="b")
        helper = lab.spawn("a", SLEEP)
        assert snapshot([tmp_path]).since(before).keys() >= {"processes", "namespaces", "folders"}
    assert_nothing_left(before, [tmp_path])
    assert helper.wait(5) != 0


def test_a_lab_that_stands_is_seen_as_left_behind(tmp_path):
    before = snapshot([tmp_path])
    with Lab.open(nodes("a"), base=tmp_path), pytest.raises(AssertionError, match="left behind"):
        assert_nothing_left(before, [tmp_path], within_s=0.1)


def test_six_nodes_are_up_in_a_moment(tmp_path):
    began = time.monotonic()
    with Lab.open(nodes(*"abcdef"), base=tmp_path) as lab:
        took_s = time.monotonic() - began
        assert len(lab.topology.nodes) == 6
    assert took_s < 5  # measured: 0.2 s on a quiet machine


def test_closing_twice_is_closing_once(tmp_path):
    lab = Lab.open(nodes("a"), base=tmp_path)
    lab.close()
    lab.close()
    with pytest.raises(TargetError, match="gone"):
        lab.processes()
    with pytest.raises(TargetError, match="closed"), lab.entered():
        pass


def test_a_lab_opened_by_a_thread_outlives_the_thread(tmp_path):
    opened = []
    thread = threading.Thread(target=lambda: opened.append(Lab.open(nodes("a"), base=tmp_path)))
    thread.start()
    thread.join()
    with opened[0] as lab:
        await_true(
            "the thread is gone from the kernel", lambda: not Path(f"/proc/self/task/{thread.native_id}").exists()
        )
        assert lab.start("a", Process(name="p", argv=("true",))).starts == 1


def test_a_lab_whose_init_is_killed_says_that_it_is_gone(tmp_path):
    lab = Lab.open(nodes("a"), base=tmp_path)
    state = lab.start("a", Process(name="p", argv=SLEEP))
    os.kill(lab.init_pid, signal.SIGKILL)
    await_true("its processes are gone", lambda: not exists(state.pid))
    await_true("it is known", lambda: not lab._init.alive)
    with pytest.raises(TargetError, match="is gone"):
        lab.processes()
    lab.close()


def test_a_lab_that_cannot_come_up_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    before = snapshot([tmp_path])
    monkeypatch.setattr(lab_module, "_port", lambda *_: "an interface name with spaces")
    with pytest.raises(TargetError, match="ip: "):
        Lab.open(nodes("a"), base=tmp_path)
    assert_nothing_left(before, [tmp_path])


@pytest.mark.parametrize(
    ("specs", "error", "what"),
    [
        (nodes("a", "a"), UsageError, "share a name"),
        (nodes("No Name"), UsageError, "'etcd1' would do"),
        (nodes("lab"), UsageError, "called 'lab'"),
        ([NodeSpec(name="a", cpu_limit=0.001)], UsageError, "0.01 is the least"),
    ],
)
def test_bad_nodes_are_refused_before_anything_is_touched(tmp_path, specs, error, what):
    with pytest.raises(error, match=what):
        Lab.open(specs, base=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cpu_limit_without_cgroups_is_a_missing_capability(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "parents", cgroups.Parents)
    with pytest.raises(CapabilityError, match="cpu-limit: a asks for 0.5 cores"):
        Lab.open([NodeSpec(name="a", cpu_limit=0.5)], base=tmp_path)


def test_capabilities_are_those_that_are_documented(lab):
    assert lab.topology.capabilities <= CAPABILITIES.keys()
    assert {"root", "power", "kill"} <= lab.topology.capabilities
    assert lab.describe()["capabilities"] == sorted(lab.topology.capabilities)


def test_an_init_needs_the_standard_library_only():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import chaos.targets.netns.init, chaos.targets.netns.enter"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=True, timeout=30)


# ---------------------------------------------------------------- the controller dies


CONTROLLER = """
import sys
from pathlib import Path
from chaos.model import Process
from chaos.targets.netns.lab import Lab, NodeSpec
print("imported", flush=True)
lab = Lab.open([NodeSpec(name=n) for n in "abc"], base=Path(sys.argv[1]))
for n in "abc":
    lab.start(n, Process(name="p", argv=("setsid", "sleep", "1000")))
helper = lab.spawn("a", ["sleep", "1000"])
print("up", flush=True)
sys.stdin.read()
"""


def controller(base, until, **popen):
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(base)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **popen,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.decode().strip() == until:
            break
    return process


@pytest.mark.parametrize("delay_s", [0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_a_controller_killed_during_set_up_leaves_what_a_sweep_removes(tmp_path, delay_s):
    before = snapshot([tmp_path])
    with controller(tmp_path, "imported") as process:
        select.select([], [], [], delay_s)
        process.kill()
    await_swept(before, tmp_path)


def test_a_controller_killed_in_the_middle_takes_its_lab_along(tmp_path):
    before = snapshot([tmp_path])
    with controller(tmp_path, "up") as process:
        assert snapshot([tmp_path]).since(before)["namespaces"]
        process.kill()
    await_true(
        "all but cgroups and folders is gone",
        lambda: snapshot([tmp_path]).since(before).keys() <= {"cgroups", "folders"},
        within_s=2,
    )
    await_swept(before, tmp_path)


def await_swept(before, base):
    from chaos.targets.netns.sweep import sweep

    await_true(
        "no process, namespace, link or mount is left",
        lambda: snapshot([base]).since(before).keys() <= {"cgroups", "folders"},
        within_s=4,
    )
    assert sweep(base).failed == ()
    assert_nothing_left(before, [base])


# ---------------------------------------------------------------- the network


def test_nodes_reach_each_other_and_the_hub_and_nothing_else(lab):
    b = lab.topology.node("b").address
    assert reaches(lab, "a", b)
    assert reaches(lab, "a", b.rsplit(".", 1)[0] + ".1")
    assert reaches(lab, "", b)
    assert not reaches(lab, "a", "192.0.2.1")
    routes = inside(lab, "a", "ip", "-j", "route")[1]
    assert [route["dev"] for route in json.loads(routes)] == ["eth0"]
    assert [route["dev"] for route in json.loads(inside(lab, "", "ip", "-j", "route")[1])] == ["br0"]


def test_nodes_know_each_other_by_name_and_themselves_by_hostname(lab, name, tmp_path):
    assert reaches(lab, "a", "c")
    log = tmp_path / "log"
    lab.start("b", Process(name=name, argv=("uname", "-n"), log=str(log)))
    await_true("the hostname is logged", lambda: log.exists() and log.read_text() == "b\n")


def test_two_labs_do_not_meet(tmp_path, monkeypatch):
    """Even with the very same addresses: what is asked in one lab is never answered by the other."""
    monkeypatch.setattr(lab_module.secrets, "randbelow", lambda _: 7)
    with Lab.open(nodes("a"), base=tmp_path) as one, Lab.open(nodes("a", "b"), base=tmp_path) as two:
        assert one.topology.node("a").address == two.topology.node("a").address
        assert reaches(two, "a", two.topology.node("b").address)
        assert not reaches(one, "a", two.topology.node("b").address)


def test_no_ipv6_walks_around_a_cut(lab):
    assert inside(lab, "a", "ip", "-6", "address")[1] == ""


def test_a_thread_enters_a_node_and_leaves_again(lab):
    own = os.readlink("/proc/thread-self/ns/net")
    with lab.entered("a"), socket.socket() as server:
        server.bind((lab.topology.node("a").address, 4000))
        server.listen()
        with lab.entered("b"), socket.create_connection(server.getsockname(), timeout=5) as client:
            assert client.getsockname()[0] == lab.topology.node("b").address
        assert os.readlink("/proc/thread-self/ns/net") == f"net:[{os.fstat(lab.node_netns('a')).st_ino}]"
    assert os.readlink("/proc/thread-self/ns/net") == own


def test_a_thread_leaves_by_an_exception_too(lab):
    own = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(RuntimeError), lab.entered():
        raise RuntimeError
    assert os.readlink("/proc/thread-self/ns/net") == own


def test_ports_are_found_in_the_hub(lab):
    with lab.entered():
        names = {name for _, name in socket.if_nameindex()}
    assert {lab.port(node) for node in "abc"} <= names
    assert lab._init.alive
    with pytest.raises(TargetError, match="there are: a, b, c"):
        lab.port("d")


def test_a_long_name_still_has_a_port(tmp_path):
    with Lab.open(nodes("taskmanager-number-one"), base=tmp_path) as lab:
        with lab.entered():
            assert lab.port("taskmanager-number-one") in {name for _, name in socket.if_nameindex()}
        assert lab.start("taskmanager-number-one", Process(name="p", argv=("true",))).starts == 1


# ---------------------------------------------------------------- processes


def test_a_process_is_started_logged_and_seen(lab, name, tmp_path):
    log = tmp_path / "deep" / "log"
    command = Process(name=name, argv=("sh", "-c", "echo $WHAT in $PWD; exec sleep 1000"), env={"WHAT": "here"})
    command = Process(name=name, argv=command.argv, env=command.env, cwd=str(tmp_path), log=str(log))
    state = lab.start("a", command)
    await_true("it logs", lambda: log.read_text() == f"here in {tmp_path}\n")
    assert state in lab.processes()
    assert os.readlink(f"/proc/{state.pid}/exe").endswith("sleep")
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
    with socket.socket(socket.AF_UNIX) as mute, wire._short(lab.socket_of("a")) as address:
        mute.connect(address)
        assert "processes" in ask(lab, "a", "ps")


def test_orphans_are_reaped(lab, name, tmp_path):
    pids = tmp_path / "pids"
    script = f"for i in 1 2 3; do (setsid sh -c 'readlink /proc/self >> {pids}' &) ; done; exec sleep 1000"
    state = lab.start("a", Process(name=name, argv=("sh", "-c", script)))
    await_true("all three ran", lambda: pids.exists() and len(pids.read_text().split()) == 3)
    init = int(Path(f"/proc/{state.pid}/stat").read_text().rpartition(")")[2].split()[1])
    await_true("no zombie is left with the init", lambda: "Z" not in states_below(init))


def states_below(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children]


def test_a_node_has_its_own_tmp_and_sees_what_its_command_names(lab, name, tmp_path):
    secret = Path("/tmp") / f"chaosgate-test-{os.getpid()}"
    out = tmp_path / "out"
    secret.write_text("the machine's")
    try:
        script = "ls /tmp; echo x > /tmp/mine"
        lab.start("a", Process(name=name, argv=("sh", "-c", script), log=str(out)))
        await_true("it ended", lambda: row(lab, "a", name)["exit_code"] == 0)
    finally:
        secret.unlink()
    assert secret.name not in out.read_text()
    assert tmp_path.parts[2] in out.read_text()
    assert not Path("/tmp/mine").exists()


def test_a_data_folder_is_the_same_path_on_the_node(lab, name):
    file = lab.folder_of("a") / "file"
    lab.start("a", Process(name=name, argv=("touch", str(file))))
    await_true("the file is here", file.exists)


def test_a_process_keeps_no_descriptor_of_the_lab(lab, name):
    state = lab.start("a", Process(name=name, argv=SLEEP))
    assert sorted(os.listdir(f"/proc/{state.pid}/fd")) == ["0", "1", "2"]


def test_a_process_ignores_no_signal_that_its_init_does(lab, name):
    state = lab.start("a", Process(name=name, argv=SLEEP))
    ignored = next(line for line in Path(f"/proc/{state.pid}/status").read_text().splitlines() if "SigIgn" in line)
    assert int(ignored.split()[1], 16) == 0


# ---------------------------------------------------------------- helpers


def test_a_helper_is_in_the_lab_and_talks_to_us(lab):
    with lab.spawn("a", ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        assert helper.communicate(b"word", timeout=10)[0] == b"word"
    assert helper.returncode == 0
    assert inside(lab, "", "sh", "-c", "readlink /proc/1/ns/pid /proc/self/ns/pid | uniq | wc -l") == (0, "1\n")
    assert inside(lab, "a", "pwd") == (0, f"{Path.cwd()}\n")


def test_a_helper_ends_as_its_program_ends(lab):
    assert inside(lab, "a", "sh", "-c", "exit 3")[0] == 3
    assert inside(lab, "a", "sh", "-c", "kill -9 $$")[0] == -signal.SIGKILL
    assert inside(lab, "a", "/no/such/program") == (
        127,
        "can't start '/no/such/program': [Errno 2] No such file or directory\n",
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_helper_dies_with_its_handle(lab, how):
    with lab.spawn("a", ["sh", "-c", "readlink -f /proc/self; exec sleep 1000"], stdout=subprocess.PIPE) as helper:
        assert helper.stdout is not None
        assert helper.stdout.readline()
        program = int(Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text())
        helper.send_signal(how)
        assert helper.wait(5) == -how
    await_true("the program is gone", lambda: not exists(program))


# ---------------------------------------------------------------- power


def test_power_takes_daemons_too_and_boot_brings_back_what_ran(lab, name, tmp_path):
    pid_file = tmp_path / "daemon"
    script = f"(setsid sh -c 'readlink /proc/self > {pid_file}; exec sleep 1000' &); exec sleep 1000"
    before = lab.start("c", Process(name=name, argv=("sh", "-c", script)))
    lab.start("c", Process(name=f"{name}-done", argv=("true",)))
    await_true("the daemon is up", lambda: pid_file.exists() and pid_file.read_text())
    members = pids_in(os.readlink(f"/proc/{before.pid}/ns/pid"))
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


def pids_in(pid_namespace):
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if os.readlink(path) == pid_namespace:
                found.append(int(path.parts[2]))
        except OSError:
            continue
    return found


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


# ---------------------------------------------------------------- stopped and frozen


def test_stop_all_reaches_daemons_and_cont_all_leaves_what_a_signal_stopped(lab, name, tmp_path):
    pid_file = tmp_path / "daemon"
    script = f"(setsid sh -c 'readlink /proc/self > {pid_file}; exec sleep 1000' &); exec sleep 1000"
    leader = lab.start("b", Process(name=name, argv=("sh", "-c", script)))
    held = lab.start("b", Process(name=f"{name}-held", argv=SLEEP))
    await_true("the daemon is up", lambda: pid_file.exists() and pid_file.read_text())
    others = [pid for pid in pids_in(os.readlink(f"/proc/{leader.pid}/ns/pid")) if cmdline(pid)[:1] == ["sleep"]]
    assert len(others) >= 3
    ask(lab, "b", "signal", name=f"{name}-held", signal="STOP")
    ask(lab, "b", "stop_all")
    await_true("all are stopped", lambda: all(stopped(pid) for pid in others))
    ask(lab, "b", "cont_all")
    await_true("the others go on", lambda: not any(stopped(pid) for pid in others if pid != held.pid))
    await_true("the held one does not", lambda: stopped(held.pid))


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


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
