"""Labs go up and come down, and their controllers die."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chaos.errors import CapabilityError, TargetError, UsageError
from chaos.model import Process
from chaos.targets.netns import cgroups
from chaos.targets.netns import lab as lab_module
from chaos.targets.netns.lab import CAPABILITIES, Lab, NodeSpec
from tests.leftovers import assert_nothing_left, await_true, snapshot
from tests.targets.netns.asking import (
    SLEEP,
    as_root,
    ask,
    exists,
    nodes,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not as_root, reason="ordinary users: test_netns_unprivileged.py")]

ROOT = Path(__file__).parents[3]


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


def test_a_lab_goes_with_the_process_that_forked_its_init(tmp_path):
    before = snapshot()
    lab = Lab.open(nodes("a"), base=tmp_path)
    lab.start("a", Process(name="p", argv=SLEEP))
    os.kill(lab._init._process.pid, signal.SIGKILL)
    await_true("nothing of it runs", lambda: "processes" not in snapshot().since(before))
    lab.close()
    assert_nothing_left(before)


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
    with pytest.raises(CapabilityError, match=r"cpu-limit: a asks for 0\.5 cores"):
        Lab.open([NodeSpec(name="a", cpu_limit=0.5)], base=tmp_path)


def test_capabilities_are_those_that_are_documented(lab):
    assert lab.topology.capabilities <= CAPABILITIES.keys()
    assert {"root", "power", "kill"} <= lab.topology.capabilities
    assert lab.describe()["capabilities"] == sorted(lab.topology.capabilities)


def test_an_init_needs_the_standard_library_only():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import chaos.targets.netns.init, chaos.targets.netns.enter"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=False, timeout=30)
    assert done.returncode == 0


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
