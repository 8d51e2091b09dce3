"""ZooKeeper's four-letter words: one connection, one word, the answer as text until the server closes it.

ZooKeeper Administrator's Guide, "The Four Letter Words".
"""

from __future__ import annotations

import re
import socket
import time

from chaos.errors import StackError


class ZooKeeperError(StackError):
    """It did not answer."""


def ask(address: str, word: str, timeout_s: float) -> str:
    """Return the answer of `address` (host:port), whole within `timeout_s`; ZooKeeperError if there is none."""
    host, _, port = address.rpartition(":")
    deadline_s = time.monotonic() + timeout_s
    parts = []
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            connection.sendall(word.encode())
            while part := connection.recv(1 << 16):
                parts.append(part)
                connection.settimeout(max(0.001, deadline_s - time.monotonic()))
    except OSError as error:
        raise ZooKeeperError(f"zookeeper at {address}: {word}: {error}") from error
    said = b"".join(parts).decode(errors="replace")
    if not said or "not currently serving" in said or "whitelist" in said:
        raise ZooKeeperError(f"zookeeper at {address}: {word}: {said.strip() or 'an empty answer'}")
    return said


def version(said: str) -> str:
    """Return the version in the answer to `srvr`, "" if it has none."""
    found = re.search(r"^Zookeeper version: ([^\s,-]+)", said, re.MULTILINE)
    return found[1] if found else ""
