"""The lab as root of a user namespace, started by an ordinary user (uid 65534 where the tests run as root)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.leftovers import assert_nothing_left, await_true, snapshot

ROOT = Path(__file__).parents[3]
FILES = (
    *("__init__", "environment", "errors", "model", "clock", "jsonlines", "piped", "registry", "targets/__init__"),
    *("fetching", "places", "store"),  # where what serves a node's files, or changes its clock, is kept
)
NEEDED = (*(f"{name}.py" for name in FILES), "agent", "targets/netns")
UID = 65534
USER_ROOT = ("unshare", "--user", "--map-root-user")


def has_user_namespaces():
    command = [*as_nobody(), *USER_ROOT, "true"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True, check=False).returncode == 0


def as_nobody():
    """Return the prefix that makes root an ordinary user."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not has_user_namespaces(), reason="user namespaces are switched off on this machine"),
]

SCRIPT = """
import json, os, select, socket, subprocess, sys, time
from pathlib import Path
from chaos.errors import ChaosgateError
from chaos.model import Process
from chaos.targets.netns.lab import Lab, NodeSpec

base, what = Path(sys.argv[1]), sys.argv[2]
SLEEP = ("sleep", "1000")

def until(check):
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end
        time.sleep(0.005)

def reaches(lab, source, address):
    return lab.spawn(source, ["ping", "-c1", "-W1", address], stdout=subprocess.DEVNULL).wait(20) == 0

def row(lab, node, name):
    return next(r for r in lab.node_call(node, {"op": "ps"})["processes"] if r["name"] == name)

def everything(lab):
    said = {"capabilities": sorted(lab.topology.capabilities)}
    said["uid_map"] = Path("/proc/self/uid_map").read_text().split()
    a, b = (node.address for node in lab.topology.nodes)
    said["reaches a node"], said["reaches out"] = reaches(lab, "a", b), reaches(lab, "a", "192.0.2.1")
    lab.start("a", Process(name="p", argv=("sh", "-c", "setsid sleep 1000 & wait"), log=str(base / "log")))
    lab.start("b", Process(name="q", argv=SLEEP))
    lab.node_call("a", {"op": "signal", "name": "p", "signal": "KILL"})
    said["revived"] = lab.node_call("a", {"op": "revive", "name": ""})["revived"]
    lab.node_call("b", {"op": "stop_all"})
    until(lambda: row(lab, "b", "q")["stopped"])
    lab.node_call("b", {"op": "cont_all"})
    until(lambda: not row(lab, "b", "q")["stopped"])
    lab.node_call("", {"op": "poweroff", "node": "b"})
    said["reaches a dead node"] = reaches(lab, "a", b)
    said["booted"] = lab.node_call("", {"op": "boot", "node": "b"})["booted"]
    with lab.entered("a"), socket.socket() as server:
        server.bind((a, 4000))
        said["entered"] = sorted(name for _, name in socket.if_nameindex())
    said["left to"] = sorted(name for _, name in socket.if_nameindex())
    said["stopped"] = lab.stop("b", "q", grace_s=5).exit_code
    return said

try:
    limit = 0.5 if what == "limit" else None
    with Lab.open([NodeSpec(name="a", cpu_limit=limit), NodeSpec(name="b")], base=base) as lab:
        if what == "wait":
            lab.start("a", Process(name="p", argv=SLEEP))
            print("up", flush=True)
            sys.stdin.read()
        print(json.dumps(everything(lab)))
except ChaosgateError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


@pytest.fixture
def home():
    """A folder that an ordinary user can read and write, with a copy of the code: ours may be below /root."""
    with tempfile.TemporaryDirectory(prefix="chaosgate-test-") as name:
        home = Path(name)
        for needed in NEEDED:
            source, copy = ROOT / "chaos" / needed, home / "chaos" / needed
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        (home / "labs").mkdir()
        home.chmod(0o777)
        if os.geteuid() == 0:
            os.chown(home / "labs", UID, UID)  # in a folder of another's no lab is made
        yield home


def command(home, what, prefix=USER_ROOT):
    python = "/usr/bin/python3" if os.geteuid() == 0 else sys.executable
    return [*as_nobody(), *prefix, python, "-B", "-c", SCRIPT, str(home / "labs"), what]


def run(home, what, prefix=USER_ROOT):
    environment = {**os.environ, "PYTHONPATH": str(home), "TMPDIR": "/nowhere"}
    done = subprocess.run(
        command(home, what, prefix), cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_ordinary_user_has_the_same_lab_with_fewer_capabilities(home):
    before = snapshot([home / "labs"])
    said = run(home, "everything")
    assert said["uid_map"][2] == "1"
    assert {"kill", "stop", "power", "freeze", "freeze-signal", "network"} <= set(said["capabilities"])
    assert "root" not in said["capabilities"]
    assert (said["reaches a node"], said["reaches out"], said["reaches a dead node"]) == (True, False, False)
    assert (said["revived"], said["booted"], said["stopped"]) == (["p"], ["q"], -15)
    assert said["entered"] == ["eth0", "lo"]
    assert said["left to"] == ["lo"]  # no way back into a network that is the machine's
    (home / "labs" / "log").unlink()
    assert_nothing_left(before, [home / "labs"])


def test_with_a_network_of_its_own_a_thread_comes_back_to_it(home):
    said = run(home, "everything", (*USER_ROOT, "--net"))
    assert said["left to"] == ["lo"]


def test_an_ordinary_user_makes_no_lab_in_a_folder_of_another(home):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(home / "labs", 0, 0)
    (home / "labs").chmod(0o777)
    assert "not believed" in run(home, "everything")["error"]
    assert not list((home / "labs").iterdir())


def test_a_cpu_limit_is_refused_where_there_are_no_cgroups(home):
    if os.geteuid() != 0:
        pytest.skip("cgroups may be delegated to this user")
    assert run(home, "limit")["error"].startswith("CapabilityError: cpu-limit: a asks for 0.5 cores")


def test_without_any_root_the_lab_says_how_to_get_it(home):
    said = run(home, "everything", ())
    assert said["error"].startswith("CapabilityError: a lab needs root")
    assert "unshare --user --map-root-user" in said["error"]
    assert not list((home / "labs").iterdir())


def test_a_killed_controller_of_an_ordinary_user_takes_its_lab_along(home):
    before = snapshot()
    environment = {**os.environ, "PYTHONPATH": str(home)}
    with subprocess.Popen(
        command(home, "wait"), cwd=home, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"up\n"
        assert snapshot().since(before)["namespaces"]
        controller.kill()
    await_true("it is gone", lambda: not snapshot().since(before), within_s=2)
