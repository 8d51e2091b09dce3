"""The key-value traffic of one generator process: what its users share, and the final reads.

LoadUser ─▶ KvClient ─▶ etcd        after the drain: ReadBack ─▶ samples/final-<generator>.arrow
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import gevent

from chaos.clock import ns
from chaos.stacks.etcd.errors import outcome
from workloads.kv import Keys, KvClient, Site, client_numbers, short
from workloads.login import LoggedIn, Login
from workloads.priority import give_way
from workloads.readback import READERS, ReadBack
from workloads.sabotage import Transport, sabotaged
from workloads.samples import SampleWriter
from workloads.settings import KvSettings
from workloads.traffic import Traffic
from workloads.unary import Unary

if TYPE_CHECKING:
    from workloads.assignment import Assignment


class KvTraffic(Traffic):
    """Puts, gets and swaps on etcd."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        load, access = assignment.load, assignment.access
        self.settings = KvSettings.of(load.settings)
        self._logins = {m: Login(user=access.user, password=access.password) for m in assignment.endpoints}
        self._clients = client_numbers(assignment.index, load.processes)
        self._keys = Keys(
            run_id=assignment.run_id,
            registers=self.settings.keys,
            index=assignment.index,
            processes=load.processes,
        )
        self._site = self._make_site()

    def _make_site(self) -> Site:
        return Site(
            settings=self.settings,
            members=tuple(self.assignment.endpoints),
            dial=lambda member: sabotaged(self._dial(member), self.settings.sabotage, self._rng),
            keys=self._keys,
            clients=self._clients,
            record=self.record,
            outcome=outcome,
            pause=gevent.sleep,
        )

    def _dial(self, member: str) -> Transport:
        address, timeout_s = self.assignment.endpoints[member], self.assignment.load.timeout_s
        access = self.assignment.access
        unary = Unary(address, timeout_s=timeout_s, tls=access.tls)
        return LoggedIn(unary, self._logins[member], timeout_s=timeout_s) if access.user else unary

    def make_client(self, number: int) -> KvClient:
        """Return the client of user `number` of the load."""
        return KvClient(self._site, number, random.Random(f"{self.assignment.seed}/user/{number}"))

    def read_back(self, timeout_s: float) -> bool:
        """Read every write-once key; False if some could not be read within `timeout_s`."""
        give_way()
        writer = SampleWriter(self.assignment.samples, f"final-{self.assignment.name}")
        work = ReadBack(
            keys=tuple(self._keys.once),
            members=self._site.members,
            dial=self._dial,
            clients=self._clients,
            record=writer.add,
            short=lambda value: short(value, self.settings.value_bytes),
            pause=gevent.sleep,
            deadline_ns=time.monotonic_ns() + ns(timeout_s),
        )
        gevent.joinall([gevent.spawn(work.run, number) for number in range(READERS)], raise_error=True)
        writer.close(time.monotonic_ns(), keys=len(self._keys.once), final_reads_complete=work.complete)
        return work.complete
