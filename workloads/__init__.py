"""Locust users, open-loop schedules, and the driver that runs them as child processes.

Reading order: schedule.py (when), kv.py (what), unary.py (how it is sent), samples.py (what is kept), traffic.py and
child.py (the process), driver.py (who starts it), calibrate.py (how much).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.settings import KvSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKLOADS: Mapping[str, type[KvSettings]] = {"kv": KvSettings}  # name → what an experiment may say of it
