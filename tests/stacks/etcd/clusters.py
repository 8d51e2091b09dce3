"""Clusters for tests: a stack that is up on loopback, with small settings and without fsync where that exists."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from chaos.model import StackSpec
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import DEFAULT_VERSION
from tests.stacks.etcd.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def cluster(version: str = DEFAULT_VERSION, **settings: Any) -> Iterator[tuple[EtcdStack, Loopback]]:
    spec = StackSpec(name="etcd", settings={"fsync": False, **settings}, versions={"etcd": version})
    stack = EtcdStack.of(spec)
    with Loopback(stack.nodes()) as target:
        stack.up(target, target.base / "logs")
        yield stack, target
