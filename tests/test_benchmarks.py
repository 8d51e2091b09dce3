"""Benchmarks are run by hand and rarely: that they still start is seen here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_benchmark_explains_itself_and_touches_nothing(file, tmp_path):
    done = subprocess.run([sys.executable, file, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {file.name}"), done.stdout
    assert not list(tmp_path.iterdir())
    unknown = subprocess.run(
        [sys.executable, file, "--wrong"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2
    assert "unrecognized arguments: --wrong" in unknown.stderr
