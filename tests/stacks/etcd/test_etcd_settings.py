from __future__ import annotations

from pathlib import Path

import pytest

from chaos.stacks.etcd.settings import EtcdSettings, has_unsafe_no_fsync, member_process


def command(version="3.5.35", **settings):
    return member_process(
        EtcdSettings(**settings),
        binary=Path("/opt/etcd"),
        version=version,
        name="etcd1",
        addresses={"etcd1": "10.0.0.1", "etcd2": "10.0.0.2"},
        folder=Path("/data/etcd1"),
        log=Path("/logs/etcd1.log"),
    )


def test_a_member_listens_on_its_own_address_and_knows_all():
    argv = command().argv
    assert argv[0] == "/opt/etcd"
    assert "--listen-client-urls=http://10.0.0.1:2379" in argv
    assert "--initial-cluster=etcd1=http://10.0.0.1:2380,etcd2=http://10.0.0.2:2380" in argv
    assert "--data-dir=/data/etcd1/etcd" in argv
    assert "--heartbeat-interval=50" in argv
    assert "--election-timeout=500" in argv


def test_a_size_read_from_text_is_written_as_a_whole_number():
    assert "--quota-backend-bytes=1000000000" in command(quota_bytes=1e9).argv


@pytest.mark.parametrize(
    ("version", "fsync", "given"),
    [("3.4.23", False, False), ("3.5.1", False, True), ("3.6.16", False, True), ("3.5.1", True, False)],
)
def test_fsync_is_left_out_only_where_the_version_can(version, fsync, given):
    assert ("--unsafe-no-fsync" in command(version, fsync=fsync).argv) == given


def test_a_version_that_is_no_number_keeps_fsync():
    assert not has_unsafe_no_fsync("unknown")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"members": 0}, "members: "),
        ({"clients": 0}, "clients: "),
        ({"heartbeat_s": 0.0001}, "heartbeat: "),
        ({"heartbeat_s": 0.2, "election_s": 0.5}, "election: etcd wants at least 5 heartbeats"),
        ({"cpu": 0.0}, "cpu: "),
    ],
)
def test_a_setting_that_can_not_work_is_refused_at_its_key(settings, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        EtcdSettings(**settings)
