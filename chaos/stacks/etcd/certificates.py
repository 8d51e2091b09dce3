"""What a throw-away authority signs: one certificate a node, written into the node's own folder of the lab.

    authority ─signs─▶ etcd1/tls: server, peer and client at once, for its address
                ╰────▶ client1/tls: client

Certificates have no CommonName: with users enabled, etcd would take it for a user, and its gateway refuses a client's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chaos.authority import Authority, write_secret
from chaos.stacks.etcd.access import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LOOPBACK = "127.0.0.1"  # the source address of a member on 127/8, which its peers look for in its certificate


def issue(members: Mapping[Path, str], clients: Iterable[Path]) -> None:
    """Write ca.pem, cert.pem and key.pem, as `files_of` names them, for every node; members are folder → address.

    Raises OSError where a folder can't be written.
    """
    authority = Authority.new("chaosgate lab")
    for folder, address in members.items():
        _furnish(folder, authority, tuple(dict.fromkeys((address, _LOOPBACK))))
    for folder in clients:
        _furnish(folder, authority, ())


def _furnish(folder: Path, authority: Authority, hosts: Sequence[str]) -> None:
    credentials, files = authority.issue(hosts), files_of(folder)
    Path(files.key).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(Path(files.ca), authority.pem)
    write_secret(Path(files.cert), credentials.certificate)
    write_secret(Path(files.key), credentials.key)
