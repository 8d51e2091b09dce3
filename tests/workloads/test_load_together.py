from __future__ import annotations

import threading

import pytest

from chaos.errors import WorkloadError
from chaos.model import LoadStatus
from workloads.together import Together


class Generator:
    """Says what it was told to do; `trouble` is raised when it is stopped."""

    def __init__(self, ok=0, trouble=None, meet=None):
        self.told, self.epoch_ns = [], 0
        self._ok, self._trouble, self._meet = ok, trouble, meet

    def go(self, epoch_ns):
        self.epoch_ns = epoch_ns + self._ok

    def status(self):
        return LoadStatus(at_ns=5, running=True, ok=self._ok, offered_per_s=self._ok)

    def stop(self):
        if self._meet:
            self._meet.wait()
        self.told.append("stop")
        if self._trouble:
            raise self._trouble

    def drain(self):
        self.told.append("drain")

    def close(self):
        self.told.append("close")

    def kill(self):
        self.told.append("kill")


def test_both_begin_and_it_has_begun_when_the_last_has():
    both = Together({"records": Generator(3), "kv": Generator(8)})
    both.go(100)
    assert both.epoch_ns == 108


def test_what_they_say_is_told_together_and_apart():
    told = Together({"records": Generator(3), "kv": Generator(8)}).status()
    assert (told.ok, told.offered_per_s) == (11, 11)
    assert (told.parts["records"]["ok"], told.parts["kv"]["ok"]) == (3, 8)


def test_both_are_ordered_whatever_becomes_of_one():
    first, second = Generator(trouble=WorkloadError("it died")), Generator()
    both = Together({"records": first, "kv": second})
    both.drain()
    with pytest.raises(WorkloadError, match="it died"):
        both.stop()
    both.close()
    both.kill()
    assert first.told == second.told == ["drain", "stop", "close", "kill"]


def test_of_two_that_break_down_both_are_told():
    both = Together({name: Generator(trouble=WorkloadError(f"{name} died")) for name in ("records", "kv")})
    with pytest.raises(WorkloadError, match="records died; kv died"):
        both.stop()


def test_they_are_stopped_at_the_same_time():
    meet = threading.Barrier(2, timeout=10)
    Together({"records": Generator(meet=meet), "kv": Generator(meet=meet)}).stop()


def test_a_load_that_is_not_ready_yet_is_not_ended():
    loads = {"records": Generator()}
    both = Together(loads)
    both.kill()
    assert loads["records"].told == ["kill"]
