from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.model import NODE_ACTIONS
from chaos.stacks.etcd.logs import suspicious_lines
from tests.stacks.etcd.clusters import cluster


def entry(level, msg, **more):
    return json.dumps({"level": level, "ts": "2026-01-01T00:00:00Z", "caller": "x.go:1", "msg": msg} | more)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (entry("panic", "failed to recover v3 backend from snapshot", error="x"), "panic"),
        (entry("fatal", "discovery failed", error="x"), "fatal"),
        (entry("warn", "found hash mismatch", error="data inconsistency detected"), "inconsistency"),
        (entry("error", "alarm raised", reason="CORRUPT"), "corruption"),
        ("panic: tocommit(107) is out of range [lastIndex(0)]. Was the raft log corrupted?", "panic"),
        ("fatal error: runtime: out of memory", "fatal"),
        ("[signal SIGSEGV: segmentation violation code=0x1]", "crash"),
        ("2026-01-01 00:00:00.0 C | etcdmain: database file is corrupt", "fatal"),
        ("etcd invoked oom-killer", "out of memory"),
    ],
)
def test_trouble_is_found_with_its_line_number(line, what):
    (found,) = suspicious_lines("\n".join([entry("info", "ready"), line, entry("warn", "slow")]))
    assert (found.number, found.line, found.what, found.explained_by) == (2, line, what, ())


@pytest.mark.parametrize(
    "line",
    [
        entry("info", "starting", **{"corrupt-check-time-interval": "0s", "initial-corrupt-check": False}),
        entry("info", "initial corruption checking passed; no corruption"),
        entry("warn", "starting", **{"corrupt-check-time-interval": "0s"}),
        entry("warn", "lost TCP streaming connection with remote peer", error="EOF"),
        entry("warn", "apply request took too long", took="1s"),
        "",
    ],
)
def test_ordinary_lines_are_no_trouble(line):
    assert suspicious_lines(line) == []


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        (entry("fatal", "failed to save", error="write: no space left on device"), ()),  # no fault of ours fills a disk
        (entry("fatal", "failed to save", error="fsync: input/output error"), ()),
        (entry("panic", "listen", error="cannot assign requested address"), ("power",)),
        (entry("fatal", "wal: crc mismatch"), ("power",)),
    ],
)
def test_trouble_that_an_action_may_cause_names_its_kinds(line, kinds):
    (found,) = suspicious_lines(line)
    assert found.explained_by == kinds
    assert set(kinds) <= NODE_ACTIONS.keys()


@pytest.mark.parametrize(
    ("ts", "at_s"),
    [
        ("2026-01-01T00:00:00.250000Z", 1767225600.25),
        ("2026-01-01T01:00:00.250+0100", 1767225600.25),
        ("2026-01-01T00:00:00.25", None),  # of which zone?
        ("soon", None),
        (17, None),
    ],
)
def test_a_line_tells_when_it_was_written_if_it_names_its_zone(ts, at_s):
    (found,) = suspicious_lines(entry("fatal", "gone", ts=ts))
    assert found.at_s == at_s
    (plain,) = suspicious_lines("2026-01-01 00:00:00.0 C | etcdmain: database file is corrupt")
    assert plain.at_s is None


@given(st.text())
def test_any_text_can_be_read(text):
    for found in suspicious_lines(text):
        assert text.splitlines()[found.number - 1] == found.line


@pytest.mark.real
@pytest.mark.parametrize("version", ["3.4.23", "3.5.1", "3.5.35"])
def test_a_member_that_starts_is_killed_and_stops_leaves_no_suspicious_line(version):
    with cluster(version, members=1) as (stack, target):
        target.kill("etcd1")
        target.revive("etcd1")
        target.stop("etcd1", "etcd", grace_s=10)
        log = (target.base / "logs/etcd1-etcd.log").read_text()
        assert stack.member_names == ("etcd1",)
        assert suspicious_lines(log) == []
        assert suspicious_lines(log + "\npanic: runtime error\n")
