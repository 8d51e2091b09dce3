"""The commands that put chaosgate's agents into a cluster, and take them away.

chaosgate install   uninstall   image
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaos.errors import UsageError
from chaos.listened import Unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.targets.kubernetes.access import Access


def cluster_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add which cluster is meant, and a way past the question whether it is that one."""
    for option in (
        click.option("--kubeconfig", default="", metavar="FILE", help="Else $KUBECONFIG, then ~/.kube/config."),
        click.option("--context", default="", help="A context of it; else its current one."),
        click.option("--yes", is_flag=True, help="Don't ask whether it is that cluster."),
    ):
        command = option(command)
    return command


@click.command(cls=Unheard)
@cluster_options
@click.option("--image", default="", help="The agent's image, by the name under which the cluster's machines find it.")
@click.option("--print", "printed", is_flag=True, help="Print the resources as YAML, for kubectl; touch nothing.")
def install(kubeconfig: str, context: str, image: str, *, yes: bool, printed: bool) -> None:
    """Put an agent on every machine of a Kubernetes cluster.

    \b
    chaosgate install                                          asks first, and names the cluster
    chaosgate install --image registry.example/chaosgate-agent:1
    chaosgate install --print | kubectl apply -f -

    The agents are privileged pods of a namespace of their own, `chaosgate`. They take orders from no port: whoever may
    `exec` there may use them, nobody else. They have no rights in the cluster. With them come roles for whoever runs
    experiments; --print shows them, with the reason of each right.

    A lab of `chaosgate lab up` has the image already. `chaosgate image` makes it here for others, without a registry.
    """  # noqa: D301  # click reads the backspace as "keep these lines as they are"
    from chaos.targets.kubernetes import install as installing  # noqa: PLC0415

    if printed:
        click.echo(installing.text(image), nl=False)
        return
    access = _confirmed(kubeconfig, context, "Put an agent on every machine of", yes=yes)
    installing.install(access, image=image, say=_progress)


@click.command(cls=Unheard)
@cluster_options
def uninstall(kubeconfig: str, context: str, *, yes: bool) -> None:
    """Take the agents out of a Kubernetes cluster, and all that came with them. What they have in force is undone."""
    from chaos.targets.kubernetes import install as installing  # noqa: PLC0415

    access = _confirmed(kubeconfig, context, "Take chaosgate's agents out of", yes=yes)
    installing.uninstall(access, say=_progress)


@click.command(cls=Unheard)
@click.argument("archive", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def image(archive: Path) -> None:
    """Write the agent's image into ARCHIVE, in the form of `docker save`, from what is on this machine.

    \b
    chaosgate image agent.tar
    kind load image-archive agent.tar
    ctr --namespace k8s.io images import agent.tar             on a machine with containerd
    """  # noqa: D301
    import shutil  # noqa: PLC0415

    from chaos.targets.kubernetes import agent_image  # noqa: PLC0415

    made = agent_image.archive(_progress)
    try:
        shutil.copyfile(made, archive)
    except OSError as error:
        raise UsageError(f"{archive}: {error.strerror}; name a file that you may write") from error
    click.echo(f"{archive}: {agent_image.TAG}, {archive.stat().st_size / 1e6:.0f} MB")


def _confirmed(kubeconfig: str, context: str, what: str, *, yes: bool) -> Access:
    """Return the way into the cluster once a person has said that it is that one."""
    from chaos.targets.kubernetes.access import connect  # noqa: PLC0415

    access = connect(kubeconfig, context)
    named = f"context {access.context} ({access.server}, Kubernetes {access.version})"
    if yes:
        click.echo(f"  {named}", err=True)
    elif not sys.stdin.isatty():
        raise UsageError(f"{what} {named}? Nobody can be asked here: say --yes if it is that one")
    elif not click.confirm(f"{what} {named}?", err=True):
        raise UsageError("nothing was touched")
    return access


def _progress(text: str) -> None:
    click.echo(f"  {text}", err=True)
