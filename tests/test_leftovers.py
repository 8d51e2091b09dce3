"""The look at what was left behind sees what is there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.leftovers import assert_nothing_left, await_true, snapshot

pytestmark = pytest.mark.real
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces of its own")


def test_an_orphan_is_seen_until_it_is_gone():
    before = snapshot()
    script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=10)
    pid = int(done.stdout)
    try:
        with pytest.raises(AssertionError, match=f"{pid} sleep 1000"):
            assert_nothing_left(before, within_s=0)
    finally:
        os.kill(pid, 9)
    assert_nothing_left(before)


def test_a_file_in_a_folder_is_seen(tmp_path):
    before = snapshot([tmp_path])
    (tmp_path / "left").touch()
    with pytest.raises(AssertionError, match="left behind"):
        assert_nothing_left(before, [tmp_path], within_s=0)


@needs_root
def test_links_tables_qdiscs_and_mounts_are_seen():
    """In a network and mount namespace of its own: the machine's are nobody's to play with."""
    make = "ip link add left type bridge; tc qdisc add dev left root pfifo; nft add table ip left"
    look = "import json; from tests.leftovers import snapshot; s = snapshot(); print(json.dumps([*map(sorted, LOOK)]))"
    look = look.replace("LOOK", "(s.links, s.qdiscs, s.tables, s.mounts)")
    mount = "mount -t tmpfs left /mnt"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", f'{make}; {mount}; "$0" -c "$1"', os.sys.executable, look],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    links, qdiscs, tables, mounts = json.loads(done.stdout)
    assert "left" in links
    assert any("pfifo" in qdisc and "left" in qdisc for qdisc in qdiscs)
    assert "ip left" in tables
    assert any(" left " in mount for mount in mounts)


@needs_root
def test_namespaces_are_seen():
    before = snapshot()
    with subprocess.Popen(["unshare", "--net", "--uts", "sleep", "1000"]) as process:
        await_true("it has both", lambda: len(snapshot().since(before).get("namespaces", [])) == 2)
        process.kill()
    assert_nothing_left(before)


def test_nobody_elses_processes_are_ours():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CHAOSGATE_TEST_MARK")}
    before = snapshot()
    with subprocess.Popen(["sleep", "1000"], env=environment) as process:
        await_true("it runs", lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        assert "processes" not in snapshot().since(before)
        process.kill()
