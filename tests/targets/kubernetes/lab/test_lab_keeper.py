"""A cluster that stays until it is told to go: by the command, with others beside it, and whatever ends its keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaos.cli import main
from chaos.errors import TargetError, UsageError
from chaos.targets.kubernetes.lab import keeper
from chaos.targets.kubernetes.lab.api import Api
from chaos.targets.netns.target import clear_leftovers
from tests.leftovers import assert_nothing_left, await_true, snapshot

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

GONE_S = 30  # of dozens of processes, on a machine that other tests use, too


@pytest.fixture
def labs(tmp_path, monkeypatch):
    folder = tmp_path / "labs"
    folder.mkdir()
    monkeypatch.setenv("CHAOSGATE_LABS", str(folder))
    yield folder
    for one in keeper.kept(folder):
        if one.lives:
            os.kill(one.pid, signal.SIGKILL)
    clear_leftovers(folder)


def chaosgate(*words, code=0):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output
    return done.output


def test_a_lab_is_booted_found_used_and_taken_down(labs):
    before = snapshot([labs])
    said = chaosgate("lab", "up", "--nodes", "2", "--zones", "a,b")
    (one,) = keeper.kept(labs)
    assert f"export KUBECONFIG={one.kubeconfig}" in said
    assert Path(one.kubeconfig).stat().st_mode & 0o077 == 0, "who reads it is the cluster's admin"
    status = chaosgate("lab", "status")
    assert f"lab {one.id}" in status
    assert "node1   Ready   zone a" in status
    assert chaosgate("lab", "kubeconfig").strip() == one.kubeconfig
    assert f"lab {one.id} is gone" in chaosgate("lab", "down")
    assert_nothing_left(before, [labs], within_s=GONE_S)
    assert "no lab is up" in chaosgate("lab", "status")


def test_two_labs_at_once_know_nothing_of_each_other(labs):
    before = snapshot([labs])
    chaosgate("lab", "up", "--nodes", "1")
    chaosgate("lab", "up", "--nodes", "1", "--zones", "z")
    first, second = keeper.kept(labs)
    assert "name one" in chaosgate("lab", "down", code=2)
    with Api.by(Path(first.kubeconfig)) as one, Api.by(Path(second.kubeconfig)) as other:
        ids = [api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] for api in (one, other)]
        assert ids[0] != ids[1]
        chaosgate("lab", "down", first.id)
        assert other.is_ready("node1")
        with pytest.raises(TargetError):
            one.get("/api/v1/nodes")
    chaosgate("lab", "down", "--all")
    assert_nothing_left(before, [labs], within_s=GONE_S)


def test_a_keeper_that_is_killed_takes_its_cluster_with_it_and_heal_takes_the_rest(labs):
    before = snapshot([labs])
    chaosgate("lab", "up", "--nodes", "1")
    (one,) = keeper.kept(labs)
    snapshot([labs])  # with its cgroups
    os.kill(one.pid, signal.SIGKILL)
    await_true("the keeper is gone", lambda: not keeper.kept(labs)[0].lives, within_s=GONE_S)
    assert f"what is left of {one.id}, whose keeper died, `chaosgate heal` removes" in chaosgate("lab", "status")
    chaosgate("heal")
    assert_nothing_left(before, [labs], within_s=GONE_S)


@pytest.mark.parametrize("phase", ["namespaces", "API server"])
def test_a_ctrl_c_while_it_comes_up_leaves_nothing(labs, phase):
    before = snapshot([labs])
    argv = [sys.executable, "-m", "chaos.cli", "lab", "up", "--nodes", "1"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as up:
        for line in up.stderr:
            if line.strip().startswith(phase):
                break
        snapshot([labs])
        up.send_signal(signal.SIGINT)
        out, _ = up.communicate(timeout=120)
    assert up.returncode != 0
    assert "KUBECONFIG" not in out
    assert_nothing_left(before, [labs], within_s=GONE_S)


def test_what_can_not_be_is_refused_before_anything_is_touched(labs):
    assert "1 to 50" in chaosgate("lab", "up", "--nodes", "0", code=2)
    assert "each zone needs one" in chaosgate("lab", "up", "--nodes", "1", "--zones", "a,b", code=2)
    assert "no lab nosuch" in chaosgate("lab", "down", "nosuch", code=2)
    assert "no lab is up" in chaosgate("lab", "kubeconfig", code=2), "an empty KUBECONFIG would mean another cluster"
    assert "no lab is up" in chaosgate("lab", "down")
    assert list(labs.iterdir()) == []


def test_what_a_keeper_could_not_do_is_raised_as_what_it_is(labs):
    with pytest.raises(UsageError, match="1 to 50"):
        keeper.keep(labs, nodes=99, zones=(), images=(), say=print)
    assert list(labs.iterdir()) == []


def test_an_image_that_is_none_is_told_and_nothing_stays(labs, tmp_path):
    (tmp_path / "no.tar").write_text("no image")
    before = snapshot([labs])
    with pytest.raises(TargetError, match=r"node1: no\.tar could not be loaded"):
        keeper.keep(labs, nodes=1, zones=(), images=[tmp_path / "no.tar"], say=print)
    assert_nothing_left(before, [labs], within_s=GONE_S)
