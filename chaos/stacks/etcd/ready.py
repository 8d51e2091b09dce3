"""What keeps a cluster, or a member that was restarted, from serving; "" is the answer that is hoped for.

cluster: all answer, one leader ─▶ a write goes through
member:  answers ─▶ has applied what was committed ─▶ reads linearizably
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from chaos.stacks.etcd import roles
from chaos.stacks.etcd.client import EtcdClient, EtcdError

if TYPE_CHECKING:
    from chaos.stacks.etcd.members import Members

ASK_S = 1.0  # one question to one member
_KEY = "chaosgate/ready"


def try_write(client: EtcdClient) -> None:
    """Write a key that means nothing."""
    client.put(_KEY, "yes")


def not_serving(members: Members) -> str:
    """Return why the cluster is not ready for clients."""
    if why := roles.not_ready(members.statuses(ASK_S), tuple(members.endpoints)):
        return why
    try:
        members.ask_one(next(iter(members.endpoints)), try_write, ASK_S)
    except EtcdError as error:
        return f"a write failed: {error}"
    return ""


def not_back(members: Members, name: str, committed: int) -> str:
    """Return why a member that was restarted does not serve yet; `committed` is what it has to have applied."""
    ask = partial(members.ask_one, name, timeout_s=ASK_S)
    try:
        status = ask(lambda client: client.status())
        if status.applied_index < committed:
            return f"applied {status.applied_index} of {committed}"
        ask(lambda client: client.get(_KEY))
    except EtcdError as error:
        return str(error)
    return ""
