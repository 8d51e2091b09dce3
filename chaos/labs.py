"""The commands of a Kubernetes of our own: build its parts once, boot it in seconds, take it down.

chaosgate lab build   up   down   status
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaos.errors import CapabilityError, UsageError
from chaos.listened import Unheard
from chaos.places import labs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.targets.kubernetes.lab.keeper import Kept

_NONE = "no lab is up; `chaosgate lab up` boots one"


@click.group()
def lab() -> None:
    """Boot a real Kubernetes here, in namespaces: no Docker, no registry, several at once.

    \b
    chaosgate lab build                                 once: ten to fifteen minutes, into the cache
    chaosgate lab up --nodes 3 --zones a,b,c            seconds; it stays until it is taken down
    kubectl --kubeconfig "$(chaosgate lab kubeconfig)" get nodes
    chaosgate install                                   chaosgate's agents into it
    chaosgate lab down

    Nothing of a lab is in the machine's own network, but for the port of loopback by which its API server is reached.
    Experiments do not run on it yet.
    """  # noqa: D301  # click reads the backspace as "keep these lines as they are"


@lab.command(cls=Unheard)
def build() -> None:
    """Build and fetch what a lab is made of, once a machine, into the cache."""
    from chaos.targets.kubernetes import agent_image  # noqa: PLC0415  # here and below: only what one command needs
    from chaos.targets.kubernetes.lab import programs  # noqa: PLC0415

    if missing := programs.lacking():
        click.echo(f"to be had first: {', '.join(missing)}")
    began = time.monotonic()
    parts = programs.provide(tell := lambda text: click.echo(f"  {text}"))
    programs.attacher(tell)
    agent_image.archive(tell)
    click.echo(f"Kubernetes {programs.VERSION} is at hand after {time.monotonic() - began:.0f} s: {parts.servers}")


@lab.command(cls=Unheard)
@click.option("--nodes", default=3, show_default=True, help="How many nodes, 1 to 50; the control plane is none.")
@click.option("--zones", default="", metavar="A,B,…", help="Zones, dealt out to the nodes in turn as labels.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An archive of `docker save` that every node gets; repeatable.",
)
def up(nodes: int, zones: str, images: Sequence[Path]) -> None:
    """Boot a cluster that stays until `chaosgate lab down`, and print its kubeconfig's path."""
    from chaos.targets.kubernetes import agent_image  # noqa: PLC0415
    from chaos.targets.kubernetes.lab import keeper, plan  # noqa: PLC0415

    plan.zoned(plan.names(nodes), asked := [zone.strip() for zone in zones.split(",") if zone.strip()])
    _need_root()
    given = (agent_image.archive(_progress), *images)
    said = keeper.keep(labs(), nodes=nodes, zones=asked, images=given, say=_progress)
    click.echo(f"lab {said.id}: Kubernetes {said.version}, {len(said.zones)} nodes", err=True)
    click.echo(f"export KUBECONFIG={said.kubeconfig}")


@lab.command(cls=Unheard)
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "every", is_flag=True, help="All of them.")
def down(ids: Sequence[str], *, every: bool) -> None:
    """Take a lab down: the only one, or those named."""
    from chaos.targets.kubernetes.lab import keeper  # noqa: PLC0415

    chosen = _chosen(ids, every=every)
    if not chosen:
        click.echo(_NONE, err=True)
    for one in chosen:
        keeper.take_down(labs(), one)
        click.echo(f"lab {one.id} is gone")


@lab.command(cls=Unheard)
def status() -> None:
    """Say which labs there are, since when, and which of their nodes are Ready."""
    living = _living()
    if not living:
        click.echo(_NONE, err=True)
    for one in living:
        minutes = (time.time() - one.began_s) / 60
        click.echo(f"lab {one.id}   Kubernetes {one.version}   up for {minutes:.0f} min   keeper pid {one.pid}")
        for line in _nodes(one):
            click.echo(f"  {line}")
        click.echo(f"  export KUBECONFIG={one.kubeconfig}")


@lab.command(cls=Unheard)
@click.argument("ids", nargs=-1, metavar="[ID]…")
def kubeconfig(ids: Sequence[str]) -> None:
    """Print the path of a lab's kubeconfig. Without a lab that is an error: an empty one means some other cluster."""
    chosen = _chosen(ids, every=False)
    if not chosen:
        raise UsageError("no lab is up, so there is no kubeconfig of one; `chaosgate lab up` boots one")
    for one in chosen:
        click.echo(one.kubeconfig)


# ---------------------------------------------------------------- helpers


def _need_root() -> None:
    if os.geteuid() != 0:
        raise CapabilityError("a Kubernetes lab runs containers, and so needs the machine's root: run as root")


def _progress(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _living() -> list[Kept]:
    from chaos.targets.kubernetes.lab.keeper import kept  # noqa: PLC0415

    found = kept(labs())
    dead = [one.id for one in found if not one.lives]
    if dead:
        click.echo(f"what is left of {', '.join(dead)}, whose keeper died, `chaosgate heal` removes", err=True)
    return [one for one in found if one.id not in dead]


def _chosen(ids: Sequence[str], *, every: bool) -> list[Kept]:
    """Return the labs that are meant; UsageError where that is not clear."""
    living = {one.id: one for one in _living()}
    if unknown := [name for name in ids if name not in living]:
        raise UsageError(f"no lab {', '.join(unknown)}; there are: {', '.join(living) or 'none'}")
    if not ids and not every and len(living) > 1:
        raise UsageError(f"there are several labs: {', '.join(living)}; name one")
    return [living[name] for name in ids] if ids else list(living.values())


def _nodes(one: Kept) -> list[str]:
    """Return a line a node; one line if the API server does not answer."""
    from chaos.errors import TargetError  # noqa: PLC0415
    from chaos.targets.kubernetes.lab.api import Api  # noqa: PLC0415

    try:
        with Api.by(Path(one.kubeconfig)) as api:
            ready = {node: api.is_ready(node) for node in one.zones}
    except TargetError as error:
        return [f"its API server does not answer: {error}"]
    return [
        f"{node}   {'Ready' if ready[node] else 'not Ready'}{f'   zone {zone}' if zone else ''}"
        for node, zone in one.zones.items()
    ]
