"""The wheel, installed elsewhere: everything that it needs is in it, and a stranger's packages are not disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("chaos", "gates", "reports", "workloads")
EXPERIMENT = """\
chaosgate: 1
name: made
stack: {etcd: {members: 3}}
load: {kv: {}, rate: 50/s}
duration: 30s
gates: [linearizable]
"""


def said(*argv: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    return subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    built = said(*pip, "--wheel-dir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stdout
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A new environment: this one's packages, but chaosgate from the wheel."""
    home = tmp_path_factory.mktemp("environment")
    made = said(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    assert made.returncode == 0, made.stdout
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a .pth in there is not followed
    return home / "bin/python"


def texts_of(wheel):
    with zipfile.ZipFile(wheel) as packed:
        return packed.namelist()


@pytest.fixture
def strangers(tmp_path):
    """Somebody's project, which has packages called like ours, tests for them, and an experiment."""
    for name in ("chaos", "reports", "gates", "workloads"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"WHOSE = 'the stranger, {name}'\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_own.py").write_text(
        "import chaos, gates, reports, workloads\n"
        "def test_own():\n"
        "    for package in (chaos, gates, reports, workloads):\n"
        "        assert package.WHOSE == f'the stranger, {package.__name__}'\n"
    )
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/made.yaml").write_text(EXPERIMENT)
    return tmp_path


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as packed:
        there = {name for name in packed.namelist() if name.partition("/")[0] in PACKAGES}
    files = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == files
    assert "chaosgate_pytest.py" in texts_of(wheel)
    assert any(name.startswith("reports/assets/") for name in there)
    assert any(name.startswith("chaos/stacks/etcd/build/") and name.endswith("/go.sum") for name in there)
    assert "reports/page.html" in there


def test_the_wheel_names_its_command_its_plugin_and_its_licence(wheel):
    with zipfile.ZipFile(wheel) as packed:
        texts = {name.partition("/")[2]: packed.read(name) for name in packed.namelist() if ".dist-info/" in name}
    entries = texts["entry_points.txt"].decode()
    assert "chaosgate = chaos.cli:main" in entries
    assert "[pytest11]\nchaosgate = chaosgate_pytest" in entries
    assert any("LICENSE" in name for name in texts)
    assert b"Requires-Python: >=3.11" in texts["METADATA"]


def test_what_is_installed_is_the_wheel_and_works(python, tmp_path):
    where = said(python, "-c", "import chaos, gates; print(chaos.__file__, gates.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where.stdout
    assert where.stdout.count(str(python.parent.parent)) == 2
    (tmp_path / "made.yaml").write_text(EXPERIMENT)
    collected = said(python, "-m", "pytest", "--collect-only", "-q", cwd=tmp_path)
    assert "made.yaml::linearizable" in collected.stdout, collected.stdout
    assert said(python, "-m", "chaos.cli", "schema", cwd=tmp_path).returncode == 0
    drawn = said(python, "-c", "from reports import REPORTS; print(*REPORTS)", cwd=tmp_path)
    assert "html" in drawn.stdout, drawn.stdout


def test_a_project_with_packages_called_like_ours_runs_its_own_tests(python, strangers):
    ran = said(python, "-m", "pytest", "-q", "tests", cwd=strangers)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


def test_so_it_does_when_pytest_is_started_by_its_own_name(python, strangers):
    (strangers / "conftest.py").write_text("")  # which puts its folder on the path, long after plugins were loaded
    main = "import sys; sys.path.pop(0); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    ran = said(python, "-c", main, "-q", "tests", cwd=strangers)
    assert "1 passed" in ran.stdout, ran.stdout


def test_an_experiment_there_names_the_package_in_the_way(python, strangers):
    ran = said(python, "-m", "pytest", "-q", "experiments", cwd=strangers)
    assert ran.returncode != 0
    assert f"`chaos` ({strangers}/chaos/__init__.py) is in the way" in ran.stdout, ran.stdout
    assert "chaosgate run experiments/made.yaml" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_its_own_tests_run_beside_an_experiment_that_can_not(python, strangers):
    ran = said(python, "-m", "pytest", "-q", "--continue-on-collection-errors", cwd=strangers)
    assert "1 passed, 1 error" in ran.stdout, ran.stdout


@pytest.mark.parametrize("conftest", [True, False])
def test_what_the_message_advises_does_help(python, strangers, conftest):
    if conftest:
        (strangers / "conftest.py").write_text("")
    main = "import sys; sys.path.pop(0); import pytest; sys.exit(pytest.main(sys.argv[1:]))"  # as the script does
    ran = said(python, "-c", main, "--import-mode=importlib", "--collect-only", "-q", "experiments", cwd=strangers)
    assert "experiments/made.yaml::linearizable" in ran.stdout, ran.stdout
