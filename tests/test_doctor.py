"""The doctor says what is there, what is not, and what would do; every line was tried."""

from __future__ import annotations

import os

import pytest

from chaos import doctor
from chaos.doctor import Finding, examine, report
from chaos.faults import FAULTS

HERE = Finding(ability="namespaces", detail="all of them", required=True)
OPTIONAL = Finding(ability="tc", why_not="not found", used_for="rates", enable="apt-get install iproute2")
REQUIRED = Finding(
    ability="ip", why_not="not found", used_for="links", enable="apt-get install iproute2", required=True
)


def reported(*findings):
    lines: list[str] = []
    return report(findings, lines.append), "\n".join(lines)


def test_what_is_missing_comes_with_its_use_and_its_cure():
    works, text = reported(HERE, OPTIONAL)
    assert works
    assert text.splitlines()[0].startswith("ok  namespaces")
    assert "all of them" in text
    assert "no  tc" in text
    assert "for: rates" in text
    assert "what would enable it: apt-get install iproute2" in text


def test_one_missing_requirement_means_that_the_lab_does_not_work():
    works, text = reported(HERE, REQUIRED)
    assert not works
    assert "NO  ip" in text


def shapers(**why_not):
    return [Finding(ability=f"shaper {name}", why_not=why) for name, why in why_not.items()]


def last_line(*findings):
    return reported(HERE, *findings)[1].splitlines()[-1]


def test_the_last_line_names_every_fault_that_can_be_had():
    said = last_line(*shapers(netem="", tap=""))
    assert said.startswith("ready: ")
    assert said.endswith(" can be gated here")
    assert all(fault in said for fault in FAULTS)


def test_one_shaper_will_do_and_without_any_what_touches_packets_is_not_here():
    assert "not here" not in last_line(*shapers(netem="no such qdisc", nfqueue=""))
    said = last_line(*shapers(netem="no such qdisc", nfqueue="no iptables"))
    can, _, cannot = said.partition("; not here: ")
    assert cannot == "latency, loss, partition and shape"
    assert can == (
        "ready: clock, cpu, disk, freeze, kill, pause, power, replace, rescale, restart, resubmit and upgrade"
        " can be gated here"
    )


def test_the_last_line_says_what_is_less_sure():
    missing = [Finding(ability=name, why_not="no") for name in ("cpu limit per node", "real-time priority", "etcd")]
    said = last_line(*shapers(tap=""), *missing)
    assert said.startswith("ready: ")
    for part in (
        "not here: cpu and stack settings with cpu",
        "tight delays may end inconclusive",
        "built by the first run",
    ):
        assert part in said


def test_the_last_line_names_what_the_lab_lacks():
    _, text = reported(HERE, REQUIRED, Finding(ability="namespaces", why_not="no", required=True), OPTIONAL)
    assert text.splitlines()[-1] == "not ready: nothing can be gated here without ip and namespaces, see above"


@pytest.mark.real
def test_abilities_that_the_last_line_goes_by_are_examined():
    names = {finding.ability for finding in examine()}
    assert {*doctor.WITHOUT, *doctor.WEAKER} <= names
    assert any(name.startswith("shaper ") for name in names)


def test_only_the_machine_s_root_is_root():
    assert doctor._why_not_root(0, 0, "         0          0 4294967295\n") == ""
    assert doctor._why_not_root(1000, 1000, "0 0 4294967295") == "uid 1000"
    assert doctor._why_not_root(0, 1000, "0 1000 1").startswith("uid 1000, here the root of a user namespace")
    assert doctor._why_not_root(0, 0, "0 100000 65536") == "root of a user namespace"


def test_a_program_that_is_not_on_the_path_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "SBIN", "")
    found = doctor._program("ip", "iproute2", "links", True)
    assert found.why_not == "not found on PATH"
    assert found.enable == "apt-get install iproute2"
    (tmp_path / "ip").write_text("#!/bin/sh\n")
    (tmp_path / "ip").chmod(0o755)
    assert doctor._program("ip", "iproute2", "links", True).detail == str(tmp_path / "ip")


def test_a_command_that_fails_says_why():
    assert doctor._try(["true"]) == ""
    assert doctor._try(["sh", "-c", "echo no such luck >&2; exit 3"]) == "no such luck"
    assert doctor._try(["sh", "-c", "exit 3"]) == "exit 3"
    assert "no-such-program" in doctor._try(["no-such-program"])


def test_too_little_disk_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "REQUIRED_DISK_BYTES", 1 << 60)
    assert "only" in doctor._disk().why_not
    monkeypatch.setattr(doctor, "REQUIRED_DISK_BYTES", 0)
    assert doctor._disk().ok


def test_an_empty_cache_has_no_etcd(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path))
    (found,) = doctor._etcd()
    assert found.why_not == "no version in the cache"
    assert "chaos.stacks.etcd.versions" in found.enable


def test_a_missing_java_and_an_empty_cache_are_told_with_what_would_do(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    java, kafka, flink = doctor._java(), doctor._kafka(), doctor._flink()
    assert f"java not found below JAVA_HOME, {tmp_path}" in java.why_not
    assert "default-jre-headless" in java.enable
    assert kafka.why_not == flink.why_not == "no version in the cache"
    assert kafka.enable == "python -m chaos.stacks.kafka.versions"
    assert flink.enable == "python -m chaos.stacks.flink.versions"
    said = last_line(*shapers(tap=""), java, kafka, flink)
    assert "not here: Kafka and Flink" in said
    assert "Kafka's jars have to be fetched" in said
    assert "Flink's jars have to be fetched" in said


def test_priority_is_as_it_was_after_trying(monkeypatch):
    before = os.sched_getscheduler(0)
    doctor._real_time()
    assert os.sched_getscheduler(0) == before

    def refuse(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert doctor._real_time().why_not == "Operation not permitted"


@pytest.mark.real
def test_every_finding_of_this_machine_can_be_acted_upon():
    findings = examine()
    names = [finding.ability for finding in findings]
    assert len(set(names)) == len(names)
    assert {"root", "namespaces", "shaper netem", "program ip", "etcd", "free disk"} <= set(names)
    for finding in findings:
        assert finding.used_for, finding
        assert finding.ok or finding.enable, finding
