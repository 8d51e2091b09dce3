"""What is kept is whole, is filled once, and is not trusted once it has changed."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chaos import store


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "cache"))


class Filler:
    """Writes two files, one of them a program, and counts how often it was asked."""

    def __init__(self):
        self.scratches = []

    def __call__(self, folder):
        self.scratches.append(folder)
        (folder / "bin").mkdir()
        (folder / "bin/run").write_text("#!/bin/sh\n")
        (folder / "bin/run").chmod(0o700)
        (folder / "data.jar").write_text("data")
        (folder / "data.jar").chmod(0o600)


def test_the_cache_is_where_its_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAOSGATE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache() == tmp_path / "chaosgate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache() == Path.home() / ".cache/chaosgate"
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "mine"))
    assert store.cache() == tmp_path / "mine"


def test_what_is_there_is_not_filled_again_and_no_scratch_folder_stays():
    fill = Filler()
    folder = store.kept("things", "1.0", fill)
    assert store.kept("things", "1.0", fill) == folder == store.cache() / "things/1.0"
    assert len(fill.scratches) == 1
    assert not fill.scratches[0].exists()
    assert {path.name for path in folder.parent.iterdir()} == {"1.0", ".1.0.lock"}


def test_others_may_read_it_and_run_what_runs(monkeypatch):
    before = os.umask(0o077)
    try:
        folder = store.kept("things", "1.0", Filler())
    finally:
        os.umask(before)
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes == {"bin": 0o755, "bin/run": 0o755, "data.jar": 0o644, "things.sha256": 0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent, folder.parent.parent)} == {0o755}


@pytest.mark.parametrize("break_it", [lambda f: f.write_text("other"), lambda f: f.unlink()], ids=["changed", "gone"])
def test_what_was_changed_is_filled_again_whichever_file_it_was(break_it):
    fill = Filler()
    folder = store.kept("things", "1.0", fill)
    break_it(folder / "data.jar")
    assert store.held("things", "1.0") is None
    assert (store.kept("things", "1.0", fill) / "data.jar").read_text() == "data"
    assert len(fill.scratches) == 2


def test_what_was_only_touched_is_hashed_and_held():
    folder = store.kept("things", "1.0", Filler())
    noted = (folder / "things.sha256").read_text()
    os.utime(folder / "data.jar", ns=(1, 1))
    assert store.held("things", "1.0") == folder
    assert (folder / "things.sha256").read_text() != noted


def test_a_torn_note_is_no_proof():
    folder = store.kept("things", "1.0", Filler())
    lines = (folder / "things.sha256").read_text().splitlines(keepends=True)
    for torn in ("", "".join(lines[:-1]), "nonsense\n# inode\n"):
        (folder / "things.sha256").write_text(torn)
        assert store.held("things", "1.0") is None


def test_the_sums_can_be_checked_by_anybody():
    folder = store.kept("things", "1.0", Filler())
    done = subprocess.run(["sha256sum", "-c", "things.sha256"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["bin/run: OK", "data.jar: OK"]
    assert store.sha256(folder / "data.jar") == hashlib.sha256(b"data").hexdigest()


def test_what_could_not_be_filled_is_not_there_and_can_be_tried_again():
    def fill(folder):
        (folder / "half").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        store.kept("things", "1.0", fill)
    assert store.held("things", "1.0") is None
    assert {path.name for path in (store.cache() / "things").iterdir()} == {".1.0.lock"}
    assert store.kept("things", "1.0", Filler()).is_dir()


def test_an_empty_folder_is_nothing_to_keep():
    store.kept("things", "1.0", lambda _: None)
    assert store.held("things", "1.0") is None


def test_threads_side_by_side_fill_once():
    fill = Filler()
    threads = [threading.Thread(target=store.kept, args=("things", "1.0", fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fill.scratches) == 1


def test_processes_side_by_side_fill_once(tmp_path):
    code = (
        "import pathlib, sys, time; from chaos import store\n"
        "def fill(folder):\n"
        "    open(sys.argv[1], 'a').write('filled\\n'); time.sleep(0.3); (folder / 'x').write_text('x')\n"
        "store.kept('things', '1.0', fill)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "told")]
    root = Path(__file__).resolve().parents[2]
    running = [subprocess.Popen(argv, cwd=root) for _ in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert (tmp_path / "told").read_text() == "filled\n"
