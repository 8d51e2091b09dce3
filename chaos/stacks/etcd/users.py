"""Users of a fresh cluster: etcd's own root first, then ours, then the door is closed.

role root ─▶ user root, our user, both with it ─▶ auth enable ─▶ strangers are refused
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.errors import StackError
from chaos.stacks.etcd.client import EtcdClient, EtcdError
from chaos.stacks.etcd.errors import Code
from chaos.stacks.etcd.ready import ASK_S, try_write

if TYPE_CHECKING:
    from chaos.stacks.etcd.access import Access
    from chaos.stacks.etcd.members import Members

ROOT = "root"  # the name of both the user and the role without which etcd won't enable users
_THERE = "already exists"
_NOBODY = "user name is empty"
_ENABLE_S = 5.0


def strangers(members: Members) -> Members:
    """Return the same members, asked by nobody in particular."""
    return replace(members, access=replace(members.access, user="", password=""))


def enable(members: Members) -> None:
    """Make the user of `members` and enable users; StackError saying which step was refused."""
    first = next(iter(members.endpoints))
    try:
        strangers(members).ask_one(first, lambda client: _enable(client, members.access), _ENABLE_S)
    except EtcdError as error:
        raise StackError(f"etcd: users can't be enabled: {error}") from error


def not_closed(members: Members) -> str:
    """Return why it is not known yet that every member refuses a write without a user; "" if each does.

    StackError if such a write goes through: then that ours goes through shows nothing.
    """
    answers = strangers(members).ask(try_write, ASK_S)
    if served := [name for name, answer in answers.items() if not isinstance(answer, EtcdError)]:
        raise StackError(f"{', '.join(served)}: users are enabled, and a write without one went through")
    vague = [str(answer) for answer in answers.values() if isinstance(answer, EtcdError) and not _refusal(answer)]
    return f"nobody knows whether strangers are refused: {'; '.join(vague)}" if vague else ""


def _refusal(error: EtcdError) -> bool:
    """Whether it is a stranger that was refused; a member that is slow or away has refused nobody."""
    return error.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED) or _NOBODY in error.message


def _enable(client: EtcdClient, access: Access) -> None:
    """As mighty as root, because HashKV and the membership ask for that; of another name, beside a root like it."""
    _make(client, "/v3/auth/role/add", name=ROOT)
    for user in dict.fromkeys((ROOT, access.user)):
        _make(client, "/v3/auth/user/add", name=user, password=access.password)
        client.call("/v3/auth/user/grant", {"user": user, "role": ROOT})
    client.call("/v3/auth/enable", {})


def _make(client: EtcdClient, path: str, **named: str) -> None:
    try:
        client.call(path, named)
    except EtcdError as error:
        if _THERE not in error.message:  # a first try may have got through without its answer
            raise
