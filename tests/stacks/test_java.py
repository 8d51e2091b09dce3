"""Which Java, its flags, and archives of classes that are made once and really mapped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chaos.errors import UsageError
from chaos.stacks import java


@pytest.mark.parametrize(
    ("said", "release"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ("sh: java: not found", None),
        ("", None),
    ],
)
def test_the_release_is_read_from_what_java_says(said, release):
    assert java.major(said) == release


def fake(folder, said, code=0):
    (folder / "bin").mkdir(exist_ok=True)
    path = folder / "bin/java"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _asked_anew():
    java._said.cache_clear()
    yield
    java._said.cache_clear()


def test_java_home_goes_before_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=f"java not found below JAVA_HOME, {tmp_path}: .* Java 17 or newer"):
        java.java()
    path = fake(tmp_path, 'openjdk version "21.0.1"')
    assert java.java() == str(path)


def test_without_a_java_its_package_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"java not found on PATH.*apt-get install default-jre-headless would do"):
        java.java()


@pytest.mark.parametrize("said", ['java version "1.8.0_402"', "hello"])
def test_a_java_that_is_too_old_or_none_is_refused_with_what_it_says(monkeypatch, tmp_path, said):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    fake(tmp_path, said)
    with pytest.raises(UsageError, match=r"is too old or no Java, it says .*: Java 17 is needed"):
        java.java()


def test_a_command_has_the_quick_flags_the_archive_and_the_class_path(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    path = fake(tmp_path, 'openjdk version "17"')
    argv = java.command(
        "a.Main",
        jars=[Path("/x.jar"), Path("/y.jar")],
        memory=["-Xmx1m"],
        options=["-Dk=v"],
        archive=Path("/a.jsa"),
        arguments=["file"],
    )
    shared = "-XX:SharedArchiveFile=/a.jsa"
    assert argv == (str(path), "-Xmx1m", *java.FAST, shared, "-Dk=v", "-cp", "/x.jar:/y.jar", "a.Main", "file")
    assert shared not in java.command("a.Main", jars=[], memory=[])


def test_the_fingerprint_changes_with_a_jar_and_with_java(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    fake(tmp_path, 'openjdk version "17.0.1"')
    jar = tmp_path / "a.jar"
    jar.write_text("a")
    first = java.fingerprint([jar])
    assert java.fingerprint([jar]) == first
    assert java.fingerprint([jar], "more") != first
    os.utime(jar, ns=(1, 1))
    touched = java.fingerprint([jar])
    assert touched != first
    java._said.cache_clear()
    fake(tmp_path, 'openjdk version "17.0.2"')
    assert java.fingerprint([jar]) != touched


def test_a_training_that_leaves_no_archive_is_told_and_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "cache"))
    fake(tmp_path, 'openjdk version "17"')
    with pytest.raises(UsageError, match="java left no class archive"):
        java.archive("some-start", "1", lambda _: None)
    assert not (tmp_path / "cache/some-start/1").exists()


def test_a_jar_is_read_through_the_process_that_holds_it_and_only_if_it_is_that_process(tmp_path):
    jar = tmp_path / "a.jar"
    jar.write_text("what runs")
    with subprocess.Popen(["sh", "-c", f"exec 9<{jar}; echo; read _", "mine"], stdin=-1, stdout=-1) as holder:
        holder.stdout.readline()
        jar.unlink()
        jar.write_text("another one by now")
        found = java.opened(holder.pid, "mine", jar)
        assert found is not None
        assert found.read_text() == "what runs"
        assert java.opened(holder.pid, "somebody", jar) is None
        assert java.opened(holder.pid, "mine", tmp_path / "b.jar") is None
        holder.stdin.close()
    assert java.opened(holder.pid, "mine", jar) is None


@pytest.mark.real
def test_an_archive_is_made_once_and_is_mapped(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "Main.java"
    source.write_text('public class Main { public static void main(String[] a) { System.out.println("hi"); } }')
    tool = "jdk.jfr/jdk.jfr.internal.tool.Main"  # a program that every Java brings along, so no compiler is needed
    trained = []

    def train(path):
        trained.append(path)
        argv = [java.java(), java.archiving(path), "-XX:-UsePerfData", "--module", tool, "version"]
        subprocess.run(argv, check=True, capture_output=True)

    path = java.archive("some-start", "1", train)
    assert java.archive("some-start", "1", train) == path
    assert len(trained) == 1
    argv = [java.java(), f"-XX:SharedArchiveFile={path}", "-Xlog:class+path=info", "-Xshare:on", "-version"]
    assert subprocess.run(argv, check=False, capture_output=True).returncode == 0
