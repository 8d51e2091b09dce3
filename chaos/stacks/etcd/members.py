"""Ask every member the same thing at the same time, each on a thread that has entered their network.

             ┌─ thread, entered ── EtcdClient ──▶ etcd1
    question ┼─ thread, entered ── EtcdClient ──▶ etcd2
             └─ thread, entered ── EtcdClient ──▶ etcd3

Silent members cost one timeout together; a refusal is an answer too, as a value.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, TypeVar

from chaos.stacks.etcd.access import OPEN, Access
from chaos.stacks.etcd.client import EtcdClient, EtcdError, MemberStatus
from chaos.stacks.etcd.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The members of a cluster, and how to reach them.

    `endpoints` and `peers` are node → host:port; `peers` may lack members whose peer port we must not touch.
    `entered` makes the calling thread's sockets belong to a network from which the members are reachable.
    """

    endpoints: Mapping[str, str]
    peers: Mapping[str, str]
    entered: Callable[[], AbstractContextManager[object]] = nullcontext
    access: Access = OPEN
    tokens: dict[str, str] = field(default_factory=dict, repr=False)  # see EtcdClient

    def client(self, node: str, timeout_s: float) -> EtcdClient:
        """Return a client of one member; use it inside `entered`."""
        return EtcdClient(
            self.endpoints[node],
            timeout_s=timeout_s,
            access=self.access,
            tokens=self.tokens,
            peer=self.peers.get(node, ""),
        )

    def ask_one(self, node: str, question: Callable[[EtcdClient], Answer], timeout_s: float) -> Answer:
        """Ask one member; EtcdError if it refuses or does not answer."""
        with self.entered(), self.client(node, timeout_s) as client:
            return question(client)

    def ask(
        self, question: Callable[[EtcdClient], Answer], timeout_s: float, nodes: Sequence[str] = ()
    ) -> dict[str, Answer | EtcdError]:
        """Ask `nodes` (all, if empty); within `timeout_s` return each one's answer or its error."""
        asked = nodes or tuple(self.endpoints)
        pool = ThreadPoolExecutor(max_workers=len(asked), thread_name_prefix="etcd-ask")
        try:
            futures = {node: pool.submit(self.ask_one, node, question, timeout_s) for node in asked}
            wait(futures.values(), timeout=timeout_s)
            return dict(map(_result, asked, futures.values(), repeat(timeout_s)))
        finally:
            pool.shutdown(wait=False)  # the slow ones end by their own timeouts; nobody reads them any more

    def statuses(self, timeout_s: float) -> dict[str, MemberStatus]:
        """Return the status of every member that answers in time."""
        return answered(self.ask(EtcdClient.status, timeout_s))


def answered(answers: Mapping[str, Answer | EtcdError]) -> dict[str, Answer]:
    """Return the answers without the errors."""
    return {node: answer for node, answer in answers.items() if not isinstance(answer, EtcdError)}


def _result(node: str, future: Future[Answer], timeout_s: float) -> tuple[str, Answer | EtcdError]:
    if not future.done():
        return node, EtcdError(Code.DEADLINE_EXCEEDED, f"no answer within {timeout_s:g} s", address=node)
    try:
        return node, future.result()
    except EtcdError as error:
        return node, error
