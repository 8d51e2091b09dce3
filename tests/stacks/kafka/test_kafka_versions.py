from __future__ import annotations

import pytest

from chaos.errors import UsageError
from chaos.stacks.kafka import versions


def test_an_unknown_version_names_those_there_are_and_nothing_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "empty"))
    for ask in (versions.origin, versions.provide):
        with pytest.raises(
            UsageError, match=r"kafka 9\.9: no such version; there are .*4\.3\.1, or the path of a folder"
        ):
            ask("9.9")
    told = versions.origin(versions.DEFAULT_VERSION)
    assert told.endswith("kafka_2.13:4.3.1, not at hand: it will be fetched first")
    assert versions.installed() == ()
    assert not (tmp_path / "empty").exists()


def test_what_ships_is_available():
    assert {*versions.SHIPPED, versions.DEFAULT_VERSION} <= set(versions.VERSIONS)


def test_a_folder_of_jars_is_a_version_and_one_without_the_server_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no kafka_2\.13-<version>\.jar in it; give the folder `libs`"):
        versions.origin(f"{tmp_path}/")
    (tmp_path / "kafka_2.13-4.9.0-mine-sources.txt").touch()
    (tmp_path / "kafka_2.13-4.9.0.jar").touch()
    assert versions.origin(str(tmp_path)) == f"{tmp_path}: a folder of jars that holds Kafka 4.9.0"


def test_without_maven_the_jars_are_missed_with_what_would_do(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"mvn not found, needed for jars .* apt-get install maven would do"):
        versions.provide(versions.DEFAULT_VERSION)


def test_the_command_tells_what_can_not_be_had(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.main(["9.9"]) == 2
    assert capfd.readouterr().err.startswith("kafka 9.9 can't be had: kafka 9.9: no such version")
    assert versions.main([]) == 2
    assert capfd.readouterr().err.startswith("kafka 4.3.1 can't be had: mvn not found")


@pytest.mark.real
@pytest.mark.slow
def test_what_is_provided_can_be_started_from():
    software = versions.provide(versions.DEFAULT_VERSION)
    assert software.version == versions.DEFAULT_VERSION
    assert software.server in software.jars
    assert software.archive.stat().st_size > 10_000_000
    assert software.bootstrap.stat().st_size > 100
    assert versions.DEFAULT_VERSION in versions.installed()
    assert versions.origin(versions.DEFAULT_VERSION).endswith(", at hand")
