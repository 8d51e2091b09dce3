"""Recordings are listed newest first, and pruned only where that was asked for."""

from __future__ import annotations

import json

import pytest

from chaos.errors import RecordingError
from chaos.shelf import HEADER, decision, old, recordings, remove, row, size_bytes, table


@pytest.fixture
def shelf(tmp_path):
    """Return a function that puts a recording there."""

    def put(name, decided=""):
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        (folder / "samples/kv-0.arrow").write_bytes(b"x" * 1_000_000)
        if decided:
            (folder / "verdict.json").write_text(json.dumps({"decision": decided}))
        return folder

    put.folder = tmp_path
    return put


def test_recordings_are_newest_first_and_other_folders_are_none(shelf):
    first, second = shelf("20260101T000000Z-a-1"), shelf("20260102T000000Z-a-2")
    (shelf.folder / "20260103T000000Z-notes").mkdir()
    (shelf.folder / "index.html").write_text("")
    assert recordings(shelf.folder) == [second, first]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert recordings(tmp_path / "none") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"status": "PASS"}'])
def test_what_has_no_readable_verdict_was_not_judged(shelf, text):
    folder = shelf("20260101T000000Z-a-1")
    (folder / "verdict.json").write_text(text)
    assert decision(folder) == "not judged"


def test_a_row_says_what_was_decided_and_how_big_it_is(shelf):
    folder = shelf("20260101T000000Z-leader-kill-1", "hold")
    assert row(folder).split() == ["20260101T000000Z-leader-kill-1", "hold", "1.0", "MB"]
    assert len(row(folder)) == len(HEADER)
    assert table([folder]).row_count == 1
    assert size_bytes(folder) == 1_000_000 + 2 + len('{"decision": "hold"}')


def test_only_passed_recordings_beyond_the_newest_are_old(shelf):
    decided = ["promote", "hold", "cannot tell", "", "promote", "promote"]
    folders = [shelf(f"2026010{n}T000000Z-a-{n}", decided[n]) for n in range(6)]
    assert old(shelf.folder, keep=2, failed=False) == [folders[0]]
    assert old(shelf.folder, keep=0, failed=False) == [folders[5], folders[4], folders[0]]
    assert old(shelf.folder, keep=2, failed=True) == folders[3::-1]
    assert old(shelf.folder, keep=6, failed=True) == []


def test_a_removed_recording_is_gone_and_what_it_links_to_is_not(shelf, tmp_path):
    folder, kept = shelf("20260101T000000Z-a-1"), tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    (folder / "evidence").symlink_to(kept)
    remove(folder)
    assert not folder.exists()
    assert (kept / "file").read_text() == "mine"


def test_a_recording_that_is_only_linked_is_not_emptied(shelf, tmp_path):
    folder = shelf("20260101T000000Z-a-1")
    link = tmp_path / "20260102T000000Z-a-2"
    link.symlink_to(folder)
    with pytest.raises(RecordingError, match="it is a link"):
        remove(link)
    assert (folder / "run.json").exists()


def test_a_recording_that_will_not_go_says_why(tmp_path):
    with pytest.raises(RecordingError, match="can't be removed: No such file or directory"):
        remove(tmp_path / "gone")
