"""What a killed owner left is removed; what a living one holds is not touched."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import threading
import time

import pytest

from chaos.agent import journal
from chaos.errors import DirtyError, UsageError
from chaos.leftovers import heal_all
from chaos.targets import TARGETS, Wants
from chaos.targets.netns import cgroups
from chaos.targets.netns import sweep as sweeping
from chaos.targets.netns.cgroups import Groups, Mounts, Parents
from chaos.targets.netns.sweep import LOCK, Swept, await_dying, claim, clear, note_groups, sweep, sweep_orphans
from chaos.targets.netns.target import clear_leftovers, heal_leftovers
from tests.leftovers import await_true

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away or make a cgroup")


@pytest.fixture
def dead(tmp_path):
    """A lab's folder whose owner is gone."""
    owned = claim(tmp_path)
    os.close(owned.lock)
    return owned


def test_the_living_are_left_alone(tmp_path):
    owned = claim(tmp_path)
    assert sweep(tmp_path).labs == ()
    assert owned.folder.is_dir()
    os.close(owned.lock)
    assert sweep(tmp_path).labs == (owned.id,)
    assert not owned.folder.exists()


def test_an_inherited_lock_keeps_a_lab_alive(tmp_path):
    owned = claim(tmp_path)
    inherited = os.dup(owned.lock)  # as a lab's init holds it
    os.close(owned.lock)
    assert sweep(tmp_path).labs == ()
    os.close(inherited)
    assert sweep(tmp_path).labs == (owned.id,)


def exiting(folder, owned):
    """A /proc in which a process holds the lock that has no command line any more: it was killed, and is not gone."""
    (folder / "7" / "fd").mkdir(parents=True)
    (folder / "7" / "fd" / "3").symlink_to(owned.folder / LOCK)
    (folder / "7" / "cmdline").touch()
    return folder


@pytest.mark.parametrize("seen", [True, False])
def test_an_owner_that_is_about_to_end_is_waited_for(tmp_path, monkeypatch, seen):
    """A process gives its memory back before its locks, and one of several threads may be the last to hold them."""
    owned = claim(tmp_path / "labs")
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(sweeping, "PROC", exiting(tmp_path / "proc", owned) if seen else tmp_path / "proc")
    ended = threading.Timer(0.3, os.close, [owned.lock])
    ended.start()
    await_dying(tmp_path / "labs", for_s=10.0)
    assert not ended.is_alive()
    assert sweep(tmp_path / "labs").labs == (owned.id,)


def test_a_living_owner_is_not_waited_for_and_nobody_for_ever(tmp_path, monkeypatch):
    owned = claim(tmp_path / "labs")
    began = time.monotonic()
    await_dying(tmp_path / "labs", for_s=60.0)
    monkeypatch.setattr(sweeping, "PROC", tmp_path)
    await_dying(tmp_path / "labs", for_s=0.1)
    assert time.monotonic() - began < 30
    assert sweep(tmp_path / "labs").labs == ()
    os.close(owned.lock)


def test_what_does_not_look_like_a_lab_is_not_ours(tmp_path):
    for name in ("data", "cg12", "cgzzzzzzzz", "xcg01234567"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
    (tmp_path / "cg01234567").touch()
    (tmp_path / "cg89abcdef").mkdir()
    (tmp_path / "cg89abcdef" / "precious").touch()
    assert sweep(tmp_path).labs == ()
    assert len(list(tmp_path.iterdir())) == 6


def test_a_folder_whose_owner_died_before_the_lock_goes(tmp_path):
    (tmp_path / "cg01234567").mkdir()
    assert sweep(tmp_path).labs == ("cg01234567",)


def test_a_base_that_is_not_there_has_no_labs(tmp_path):
    assert sweep(tmp_path / "nowhere").labs == ()


def test_a_note_that_was_cut_short_does_not_stop_a_sweep(tmp_path, dead):
    (dead.folder / "groups.json").write_text('["/sys/fs/cg')
    assert sweep(tmp_path).labs == (dead.id,)


def test_only_cgroups_of_that_lab_are_removed(tmp_path, dead):
    mine, other = tmp_path / f"chaosgate-{dead.id}", tmp_path / "chaosgate-cg00000000"
    for top in (mine, other):
        (top / "node").mkdir(parents=True)
    note_groups(dead.folder, [mine, other])
    assert sweep(tmp_path).groups == (mine,)
    assert other.is_dir()


def test_a_cgroup_that_would_not_go_is_named_and_its_folder_kept(tmp_path, dead, monkeypatch):
    monkeypatch.setattr(cgroups, "_EMPTY_S", 0.05)
    mine = tmp_path / f"chaosgate-{dead.id}"
    mine.mkdir()
    (mine / "file").touch()  # as a process would, it keeps rmdir from working
    note_groups(dead.folder, [mine])
    swept = sweep(tmp_path)
    assert swept.labs == ()
    assert "can't be removed; are processes left" in swept.failed[0]
    assert dead.folder.is_dir()
    (mine / "file").unlink()
    assert sweep(tmp_path).labs == (dead.id,)


# ---------------------------------------------------------------- cgroups without a folder


@pytest.fixture
def orphaned(tmp_path):
    """Return a function that makes a cgroup of a lab, in a folder that stands for a hierarchy."""

    def make(name):
        top = tmp_path / "hierarchy" / f"chaosgate-{name}"
        (top / "n1").mkdir(parents=True)
        return top

    make.base, make.places = tmp_path / "labs", Parents(freeze=tmp_path / "hierarchy")
    return make


def test_cgroups_whose_folder_was_removed_by_hand_go(orphaned):
    top = orphaned("cg01234567")
    others = [orphaned(name) for name in ("other", "cg12", "cgzzzzzzzz")]
    assert sweep_orphans(orphaned.base, orphaned.places).groups == (top,)
    assert not top.exists()
    assert all(other.exists() for other in others)


@pytest.mark.parametrize("removed", [False, True])
def test_cgroups_of_a_lab_that_lives_elsewhere_stay(orphaned, tmp_path, removed):
    """Its folder may be in another base, or gone: its owner's lock is held."""
    owned = claim(tmp_path / "elsewhere")
    top = orphaned(owned.id)
    if removed:
        shutil.rmtree(owned.folder)
    assert sweep_orphans(orphaned.base, orphaned.places).groups == ()
    assert (top / "n1").exists()
    os.close(owned.lock)
    assert sweep_orphans(orphaned.base, orphaned.places).groups == (top,)


def test_cgroups_with_a_folder_are_its_sweep_s_to_judge(orphaned):
    orphaned.base.mkdir()
    owned = claim(orphaned.base)
    os.close(owned.lock)
    orphaned(owned.id)
    assert sweep_orphans(orphaned.base, orphaned.places).groups == ()


def test_cgroups_with_a_process_in_them_stay(orphaned):
    top = orphaned("cg01234567")
    (top / "n1/cgroup.procs").write_text("1234\n")
    assert sweep_orphans(orphaned.base, orphaned.places) == Swept()
    assert top.exists()


@needs_root
def test_another_user_s_cgroups_stay(orphaned):
    os.chown(orphaned("cg01234567"), 65534, -1)
    assert sweep_orphans(orphaned.base, orphaned.places) == Swept()


def test_a_cgroup_without_a_folder_that_would_not_go_is_named(orphaned, monkeypatch):
    monkeypatch.setattr(cgroups, "_EMPTY_S", 0.05)
    top = orphaned("cg01234567")
    (top / "file").touch()
    swept = sweep_orphans(orphaned.base, orphaned.places)
    assert swept.groups == ()
    assert f"{top} can't be removed" in swept.failed[0]


@needs_root
@pytest.mark.real
def test_the_heal_command_attributes_and_removes_real_cgroups_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSGATE_LABS", str(tmp_path / "labs"))
    places = cgroups.parents()
    if places.freeze is None:
        pytest.skip("no cgroup2 in which cgroups can be made")
    lab = f"cg{secrets.token_hex(4)}"
    groups = Groups.plan(lab, {"n1": None}, places)
    groups.make({"n1": None})
    (top,) = groups.tops
    said: list[str] = []
    with subprocess.Popen(["sleep", "1000"]) as process:
        (top / "n1/cgroup.procs").write_text(str(process.pid))
        heal_all(said.append)
        assert top.exists(), "a process is in it"
        process.kill()
    assert heal_all(said.append) == 0
    assert f"removed: cgroup {top}, of a lab whose folder is gone" in said
    assert not top.exists()


def test_a_claim_is_ours_alone(tmp_path):
    owned = claim(tmp_path)
    with (owned.folder / LOCK).open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    clear(owned.folder)
    os.close(owned.lock)
    await_true("it is gone", lambda: not owned.folder.exists())


# ---------------------------------------------------------------- whose folder it is

DOORS = pytest.mark.parametrize("door", [claim, sweep, heal_leftovers, clear_leftovers], ids=lambda one: one.__name__)


def test_a_folder_of_labs_is_made_for_its_user_alone(tmp_path):
    base = tmp_path / "new" / "labs"
    os.close(claim(base).lock)
    assert base.stat().st_mode & 0o777 == 0o700


@DOORS
def test_a_link_in_the_place_of_the_folder_is_refused_and_not_followed(tmp_path, door):
    (tmp_path / "precious" / "cg01234567").mkdir(parents=True)
    (tmp_path / "labs").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="not believed"):
        door(tmp_path / "labs")
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["cg01234567"]


@needs_root
@DOORS
def test_a_folder_that_another_user_made_is_refused(tmp_path, door):
    (tmp_path / "cg01234567").mkdir()
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(UsageError, match="another user's"):
        door(tmp_path)
    assert (tmp_path / "cg01234567").is_dir()


def test_the_heal_command_refuses_a_link_too(tmp_path, monkeypatch):
    (tmp_path / "labs").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("CHAOSGATE_LABS", str(tmp_path / "labs"))
    with pytest.raises(UsageError, match="CHAOSGATE_LABS"):
        heal_all(lambda _: None)


def journalled(folder):
    """Leave the journal of a dead agent in a lab's folder."""
    held = journal.Journal(folder / "journal")
    held.write(journal.Record(name="i1.0", kind="freeze", undo={"subject": "n1", "freezer": ""}))
    held.close()


@needs_root
def test_labs_and_journals_that_another_user_planted_are_left_alone(tmp_path):
    planted, own = tmp_path / "cg01234567", tmp_path / "cg89abcdef"
    for folder in (planted, own):
        folder.mkdir()
        (folder / LOCK).touch()
        journalled(folder)
    os.chown(planted, 65534, 65534)
    assert heal_leftovers(tmp_path) == [f"{own / 'journal'}: i1.0"]
    assert sweep(tmp_path).labs == ("cg89abcdef",)
    assert (planted / "journal" / "i1.0.json").exists()


@pytest.mark.parametrize("place", ["", "cg01234567", "cg01234567/journal", "cg01234567/journal/i1.0.json"])
def test_what_others_may_write_is_not_replayed(tmp_path, place):
    (tmp_path / "cg01234567").mkdir()
    journalled(tmp_path / "cg01234567")
    (tmp_path / place).chmod(0o775)
    for door in (heal_leftovers, clear_leftovers):
        with pytest.raises(UsageError, match=r"mode 775.*chmod go-w"):
            door(tmp_path)
    assert (tmp_path / "cg01234567" / "journal" / "i1.0.json").exists()


@needs_root
def test_a_record_that_another_user_wrote_is_not_replayed(tmp_path):
    (tmp_path / "cg01234567").mkdir()
    journalled(tmp_path / "cg01234567")
    os.chown(tmp_path / "cg01234567" / "journal" / "i1.0.json", 65534, 65534)
    with pytest.raises(UsageError, match=r"i1\.0\.json: it belongs to uid 65534"):
        heal_leftovers(tmp_path)


def test_the_journal_of_a_lab_whose_run_lives_is_its_runs_to_heal(tmp_path):
    owned = claim(tmp_path)
    journalled(owned.folder)  # its agent is dead; the run will start another
    assert heal_leftovers(tmp_path) == []
    os.close(owned.lock)
    assert heal_leftovers(tmp_path) == [f"{owned.folder / 'journal'}: i1.0"]


# ---------------------------------------------------------------- before a new lab


def test_a_new_lab_begins_by_clearing_what_dead_runs_left(tmp_path, dead, monkeypatch):
    journalled(dead.folder)
    monkeypatch.setenv("CHAOSGATE_LABS", str(tmp_path))
    TARGETS["netns"].open([], wants=Wants(), evidence=tmp_path / "evidence")
    assert list(tmp_path.iterdir()) == []


def test_no_lab_is_opened_while_a_dead_one_would_not_go(tmp_path, dead, monkeypatch):
    monkeypatch.setattr(cgroups, "_EMPTY_S", 0.05)
    monkeypatch.setenv("CHAOSGATE_LABS", str(tmp_path))
    stuck = tmp_path / f"chaosgate-{dead.id}"
    stuck.mkdir()
    (stuck / "file").touch()  # as a process would, it keeps rmdir from working
    note_groups(dead.folder, [stuck])
    with pytest.raises(DirtyError, match="would not go"):
        TARGETS["netns"].open([], wants=Wants(), evidence=tmp_path / "evidence")


HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_hierarchies_are_found_where_they_are_mounted():
    found = Mounts.parse(HYBRID)
    assert (str(found.unified), str(found.cpu)) == ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu,cpuacct")
    assert Mounts.parse("22 27 0:21 / /proc rw - proc proc rw\n") == Mounts()


def test_cgroup1_cpu_is_used_for_limited_nodes_only(tmp_path):
    groups = Groups.plan("cg1", {"a": 0.5, "b": None}, Parents(freeze=tmp_path / "u", cpu_v1=tmp_path / "c"))
    assert groups.joined["a"] == (tmp_path / "u/chaosgate-cg1/a", tmp_path / "c/chaosgate-cg1/a")
    assert groups.joined["b"] == (tmp_path / "u/chaosgate-cg1/b",)
    assert groups.freezers["b"] == tmp_path / "u/chaosgate-cg1/b/cgroup.freeze"
    assert groups.tops == (tmp_path / "c/chaosgate-cg1", tmp_path / "u/chaosgate-cg1")


def test_without_cgroups_there_is_nothing_to_join():
    groups = Groups.plan("cg1", {"a": None}, Parents())
    assert (groups.joined, groups.tops, groups.freezers) == ({"a": ()}, (), {})
    assert not Parents().limits_cpu


def test_where_cgroup2_limits_cpu_one_group_does_both(tmp_path):
    places = Parents(freeze=tmp_path, cpu_v1=tmp_path / "c", cpu_v2=True)
    assert Groups.plan("cg1", {"a": 1.0}, places).joined["a"] == (tmp_path / "chaosgate-cg1/a",)


def test_cpu_max_is_written_below_a_parent_that_hands_cpu_down(tmp_path):
    """Files stand in for a cgroup2-only machine: the paths and texts are what is checked."""
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    groups = Groups.plan("cg1", {"a": 1.5}, Parents(freeze=tmp_path, cpu_v2=True))
    groups.make({"a": 1.5})
    assert (tmp_path / "chaosgate-cg1/cgroup.subtree_control").read_text() == "+cpu"
    assert (tmp_path / "chaosgate-cg1/a/cpu.max").read_text() == "150000 100000"
