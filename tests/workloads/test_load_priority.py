from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chaos.model import Load
from workloads.priority import LIGHT_PER_S, is_light

THERE_AND_BACK = """
from workloads.priority import give_way, precedence, take_precedence
take_precedence(); print(precedence()); give_way(); print(precedence())
"""


@pytest.mark.parametrize(
    ("said", "light"),
    [
        ({"rate_per_s": LIGHT_PER_S}, True),
        ({"rate_per_s": LIGHT_PER_S + 1}, False),
        ({"rate_per_s": 2 * LIGHT_PER_S, "processes": 2}, True),
        ({"rate_per_s": 10, "calibrated_share": 0.6}, False),  # as much as the machine bears, whatever was found
        ({"closed_loop": True}, False),
    ],
)
def test_a_light_load_is_a_little_at_a_stated_rate(said, light):
    assert is_light(Load(workload="kv", **said)) is light


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_went_first_gives_way_again():
    said = subprocess.run([sys.executable, "-c", THERE_AND_BACK], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:2] == ["real time", "ordinary"]
