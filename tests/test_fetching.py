"""What is fetched comes by the registries' own clients, and what can't be had says what would do."""

from __future__ import annotations

import zipfile
from xml.etree import ElementTree as ET

import pytest

from chaos import fetching
from chaos.errors import UsageError

POM = "{http://maven.apache.org/POM/4.0.0}"


def test_a_missing_program_is_named_with_what_would_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"^mvn not found, needed for jars from Maven Central; apt-get install maven"):
        fetching.maven(["a:b:1"], tmp_path, say=print)
    with pytest.raises(UsageError, match=r"^one and two not found, needed for this; install it$"):
        fetching.need("one", "two", why="this")
    fetching.need(why="nothing")


def test_a_command_that_fails_says_its_last_words_and_what_would_do(tmp_path):
    script = "for n in 1 2 3 4 5; do echo line $n >&2; done; exit 3"
    with pytest.raises(UsageError, match=r"^`sh -c .* …` ended with 3: line 3 / line 4 / line 5; ask somebody$"):
        fetching.run(["sh", "-c", script], cwd=tmp_path, hint="ask somebody")


def test_a_command_gets_its_folder_and_variables_and_no_input(tmp_path):
    script = 'pwd > where; echo "$OWN" >> where; cat >> where'
    fetching.run(["sh", "-c", script], cwd=tmp_path, hint="", env={"OWN": "mine"})
    assert (tmp_path / "where").read_text() == f"{tmp_path}\nmine\n"


def test_a_pom_names_each_coordinate_and_leaves_out_what_is_not_wanted():
    root = ET.fromstring(fetching.pom(["org.a:one_2.13:1.0", "org.b:shaded:2.0-x!"]))  # noqa: S314 — our own text
    first, second = root.iter(f"{POM}dependency")
    assert [part.text for part in first] == ["org.a", "one_2.13", "1.0"]
    assert [part.text for part in second][:3] == ["org.b", "shaded", "2.0-x"]
    assert [part.text for part in second.iter(f"{POM}artifactId")] == ["shaded", "*"]


def test_a_coordinate_can_not_break_out_of_the_pom():
    root = ET.fromstring(fetching.pom(["a<b:c&d:1"]))  # noqa: S314 — our own text
    assert [part.text for part in next(root.iter(f"{POM}dependency"))] == ["a<b", "c&d", "1"]


@pytest.mark.real
def test_a_wheel_is_unzipped_without_its_dependencies_and_nothing_else_stays(tmp_path, monkeypatch):
    info = "chaosgate_test-1.dist-info"
    shelf, into = tmp_path / "shelf", tmp_path / "into"
    shelf.mkdir()
    into.mkdir()
    with zipfile.ZipFile(shelf / "chaosgate_test-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("lib/some.jar", "something")
        requires = "Metadata-Version: 2.1\nName: chaosgate-test\nVersion: 1\nRequires-Dist: nobody-has-this\n"
        wheel.writestr(f"{info}/METADATA", requires)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    fetching.wheel("chaosgate-test==1", into)
    assert (into / "lib/some.jar").read_text() == "something"
    assert {path.name for path in into.iterdir()} == {"lib", info}
    with pytest.raises(UsageError, match="this Python needs pip and the package index"):
        fetching.wheel("chaosgate-test==2", into)


@pytest.mark.real
@pytest.mark.slow
def test_jars_that_nobody_has_are_told_with_maven_s_own_words(tmp_path, monkeypatch):
    fetching.need("mvn", why="this test")
    said = []
    with pytest.raises(UsageError, match=r"ended with 1: .*nobody.*has to be within reach") as refusal:
        fetching.maven(["chaosgate.nobody:has-this:1"], tmp_path, say=said.append)
    assert "mvn -B -q" in str(refusal.value)
    assert said == ["fetching chaosgate.nobody:has-this:1 by Maven"]
    assert list(tmp_path.iterdir()) == []
