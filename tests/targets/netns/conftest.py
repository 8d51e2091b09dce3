"""A lab that the tests of a module share, and a name of its own for each test's processes."""

from __future__ import annotations

import re

import pytest

from chaos.targets.netns.lab import Lab
from tests.targets.netns.asking import nodes


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab.open(nodes("a", "b", "c"), base=tmp_path_factory.mktemp("labs")) as lab:
        yield lab


@pytest.fixture
def name(request):
    return re.sub(r"[^a-z0-9]+", "-", request.node.name)
