from __future__ import annotations

import contextlib

import pytest
from shaperlab import ShaperLab

from chaos.agent.shaper import open_shaper, probe


@pytest.fixture(scope="module")
def lab():
    made = ShaperLab(3)
    yield made
    made.close()


@pytest.fixture(scope="module", params=["netem", "tap", "nfqueue"])
def backend(request):
    why = probe()[request.param]
    if why:
        pytest.skip(f"{request.param} does not work in this kernel; tests/vm boots one where it does")
    return request.param


@pytest.fixture(scope="module")
def opened(lab, backend):
    with contextlib.closing(open_shaper(lab.ports, backend)) as shaper:
        yield shaper


@pytest.fixture
def shaper(lab, opened):
    yield opened
    for port in lab.ports:
        opened.set(port.node, [])
