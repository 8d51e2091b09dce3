"""What the tests of whole runs share."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def wrapped(tmp_path):
    """Make a binary that is etcd with a flaw: the shell text decides when it is not."""

    def make(flaw: str) -> Path:
        path = tmp_path / "etcd-with-a-flaw"
        real = provide(DEFAULT_VERSION, lambda _: None)
        path.write_text(f'#!/bin/sh\ncase "$1" in --version) exec {real} --version;; esac\n{flaw.format(real=real)}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC | stat.S_IXGRP | stat.S_IXOTH)
        return path

    return make
