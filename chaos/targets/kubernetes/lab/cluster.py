"""A cluster of our own, from nothing to usable in seconds, and an owner's powers over its nodes.

    lab ─▶ etcd, API server ──ready──▶ controllers, scheduler, DNS ─▶ kubelets ─▶ nodes Ready ─▶ usable
            containerd and its images, beside them ────────────────────┘

What is started too early backs off for seconds: controllers before the API server has made its roles, a kubelet
before anybody answers.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chaos.agent.points import effect
from chaos.authority import Authority, new_key, write_secret
from chaos.errors import TargetError
from chaos.targets.kubernetes.lab import plan, programs
from chaos.targets.kubernetes.lab.api import Api
from chaos.targets.kubernetes.lab.forward import Forward
from chaos.targets.kubernetes.lab.plan import CONTROL, Layout
from chaos.targets.netns.lab import Lab, NodeSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.model import Process
    from chaos.targets.kubernetes.lab.programs import Programs

BOOT = Path(__file__).with_name("node-boot.sh")
_API_S = 90.0  # 3 s on a quiet machine
_NODE_S = 60.0
_IMAGE_S = 120.0
_POLL_S = 0.05
_TAIL = 2000


class Cluster:
    """A cluster that runs; a context manager. `times` maps each phase to the seconds since the beginning at its end."""

    def __init__(self, lab: Lab, layout: Layout, parts: Programs, forward: Forward, token: str) -> None:
        self.lab, self.layout, self.programs = lab, layout, parts
        self._forward = forward
        self.times: dict[str, float] = {}
        url = f"https://127.0.0.1:{forward.port}"
        self.kubeconfig = layout.folder / "kubeconfig"
        ca = base64.b64encode((layout.pki / "ca.crt").read_bytes()).decode()
        write_secret(self.kubeconfig, plan.kubeconfig(url, ca, token).encode())
        self.api = Api.by(self.kubeconfig)

    @classmethod
    def open(
        cls,
        *,
        base: Path,
        nodes: int = 3,
        zones: Sequence[str] = (),
        images: Sequence[Path] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> Cluster:
        """Boot a cluster in a lab of its own below `base`; every node gets `images`, archives, and the pause image.

        `say` hears of each phase. UsageError for bad numbers and what can't be built, CapabilityError for what this
        machine lacks, TargetError if it did not come up, with the tail of the log that says why.
        """
        began = time.monotonic()
        names = plan.names(nodes)
        zoned = plan.zoned(names, zones)
        parts = programs.provide(say)
        with ExitStack() as undo:
            lab = effect("lab.open", lambda: Lab.open(_specs(names, zoned), base=base))
            undo.callback(effect, "lab.close", lab.close)
            addresses = {node.name: node.address for node in lab.topology.nodes}
            layout = Layout(id=lab.id, folder=lab.folder, addresses=addresses, zones=zoned)
            tokens = _furnish(layout, parts)
            forward = Forward(lab.entered(""), (addresses[CONTROL], plan.API_PORT))
            undo.callback(forward.close)
            cluster = cls(lab, layout, parts, forward, tokens["admin"])
            cluster._come_up(began, (*parts.images, *images), say)
            undo.pop_all()
            return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove what it leaves; TargetError if something would not go. Idempotent."""
        self.api.close()
        self._forward.close()
        effect("lab.close", self.lab.close)

    # ------------------------------------------------------------ coming up

    def _come_up(self, began: float, images: Sequence[Path], say: Callable[[str], None]) -> None:
        def passed(phase: str) -> None:
            self.times[phase] = time.monotonic() - began
            say(f"{phase} after {self.times[phase]:.1f} s")

        passed("namespaces")
        serving = threading.Event()
        nodes = list(self.layout.zones)
        with ThreadPoolExecutor(len(nodes)) as pool:
            coming = [pool.submit(self._bring_up, node, images, serving) for node in nodes]
            try:
                self._start_control()
                passed("API server")
            finally:
                serving.set()
            for one in coming:
                one.result()
        passed("kubelets")
        for node in nodes:
            self.await_node(node)
        passed("nodes Ready")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait("the default service account", lambda: self.api.get(account) is not None, _NODE_S)
        passed("usable")

    def _start_control(self) -> None:
        for server in (plan.etcd, plan.api_server):
            self._start(CONTROL, server(self.layout, self.programs))
        self.wait("the API server", self.api.serves, _API_S, log=self.layout.log(CONTROL, "kube-apiserver"))
        for server in (plan.controllers, plan.scheduler, plan.dns):
            self._start(CONTROL, server(self.layout, self.programs))

    def _bring_up(self, node: str, images: Sequence[Path], serving: threading.Event) -> None:
        layout, parts = self.layout, self.programs
        self._start(node, plan.containerd(layout, parts, node))
        for archive in images:
            self.load(node, archive)
        serving.wait()
        self._start(node, plan.kubelet(layout, parts, node))
        self._start(node, plan.proxy(layout, parts, node))

    def _start(self, machine: str, process: Process) -> None:
        effect("process.start", lambda: self.lab.start(machine, process))

    def load(self, node: str, archive: Path) -> None:
        """Give a node an image from its archive; TargetError if its runtime refuses or is not there."""
        process = plan.image(self.layout, self.programs, node, archive)
        deadline = time.monotonic() + _IMAGE_S
        while (code := self._finish(node, process, deadline)) != 0:
            said = _tail(Path(process.log))
            if "containerd.sock" not in said or time.monotonic() > deadline:  # the runtime is not up yet
                raise TargetError(f"{node}: {archive.name} could not be loaded (exit {code}): {said}")
            time.sleep(_POLL_S)

    def _finish(self, node: str, process: Process, deadline: float) -> int:
        Path(process.log).unlink(missing_ok=True)
        self._start(node, process)
        while True:
            states = self.lab.processes()
            state = next(one for one in states if one.node == node and one.name == process.name)
            if state.exit_code is not None:
                return state.exit_code
            if time.monotonic() > deadline:
                raise TargetError(f"{node}: {process.name} has not ended within {_IMAGE_S:.0f} s")
            time.sleep(_POLL_S)

    # ------------------------------------------------------------ looking

    def await_node(self, node: str, *, ready: bool = True) -> None:
        """Wait until the cluster takes a node for ready, or for not ready."""
        what = f"{node} to be {'Ready' if ready else 'not Ready'}"
        self.wait(what, lambda: self.api.is_ready(node) == ready, _NODE_S, log=self.layout.log(node, "kubelet"))

    def wait(self, what: str, holds: Callable[[], bool], within_s: float, *, log: Path | None = None) -> None:
        """Wait for something; TargetError with the tail of `log` if it does not come."""
        deadline, last = time.monotonic() + within_s, ""
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except TargetError as error:  # a connection that broke is asked again
                last = f"; the last answer: {error}"
            time.sleep(_POLL_S)
        said = f"; {log.name} ends: {_tail(log)}" if log is not None else ""
        raise TargetError(f"no sign of {what} within {within_s:.0f} s{last}{said}")

    # ------------------------------------------------------------ an owner's powers

    def power_off(self, node: str) -> None:
        """Take a node's power: its cable first, so that nobody hears a goodbye, then every process."""
        effect("power.off", lambda: self.lab.node_call("", {"op": "poweroff", "node": node}))

    def power_on(self, node: str) -> None:
        """Boot a node: its servers start again; TargetError naming one that would not."""
        told = effect("power.boot", lambda: self.lab.node_call("", {"op": "boot", "node": node}, timeout_s=30.0))
        if told["failed"]:
            raise TargetError(f"{node}: {'; '.join(told['failed'].values())}")

    def signal(self, machine: str, server: str, name: str) -> None:
        """Send a server a signal: KILL, STOP, CONT, TERM …; TargetError if there is no such server."""
        effect("signal.apply", lambda: self.lab.node_call(machine, {"op": "signal", "name": server, "signal": name}))

    def revive(self, machine: str, server: str) -> None:
        """Start a server again that was killed."""
        effect("signal.undo", lambda: self.lab.node_call(machine, {"op": "revive", "name": server}))


# ---------------------------------------------------------------- files


def _specs(nodes: Sequence[str], zones: dict[str, str]) -> list[NodeSpec]:
    boot = ("/bin/sh", str(BOOT))
    workers = [NodeSpec(name=n, role="node", zone=zones[n], machine=True, at_boot=boot) for n in nodes]
    return [NodeSpec(name=CONTROL, role="control", at_boot=boot), *workers]


def _furnish(layout: Layout, parts: Programs) -> dict[str, str]:
    """Write every file that the servers read; return the tokens by component and node."""
    nodes = list(layout.zones)
    (layout.folder / "logs").mkdir()
    layout.pki.mkdir(mode=0o700)
    authority = Authority.new("chaosgate lab")
    write_secret(layout.pki / "ca.crt", authority.pem)
    write_secret(layout.pki / "accounts.key", new_key())
    own = ("127.0.0.1", layout.addresses[CONTROL], plan.API_IN_CLUSTER)
    named = [f"kubernetes{more}" for more in ("", ".default", ".default.svc", f".default.svc.{plan.DOMAIN}")]
    issued = {
        "api": authority.issue((*own, *named), common_name="kube-apiserver"),
        "kubelet-client": authority.issue(organization="system:masters", common_name="kube-apiserver"),
    }
    for name, credentials in issued.items():
        write_secret(layout.pki / f"{name}.crt", credentials.certificate)
        write_secret(layout.pki / f"{name}.key", credentials.key)
    tokens = {name: secrets.token_urlsafe(24) for name in plan.users(nodes)}
    write_secret(layout.pki / "tokens.csv", plan.tokens(nodes, tokens).encode())
    ca = base64.b64encode(authority.pem).decode()
    for name, token in tokens.items():
        write_secret(layout.kubeconfig(name), plan.kubeconfig(layout.api, ca, token).encode())
    (layout.pki / "Corefile").write_text(plan.corefile(layout), encoding="utf-8")
    (layout.pki / "containerd.toml").write_text(plan.containerd_toml(parts), encoding="utf-8")
    for node in nodes:
        home = layout.home(node)
        (home / "cni" / "10-lab.conflist").write_text(plan.cni(layout, node), encoding="utf-8")
        (home / "kubelet.json").write_text(plan.kubelet_config(layout, node), encoding="utf-8")
        (home / "resolv.conf").write_text(f"nameserver {layout.addresses[CONTROL]}\n", encoding="utf-8")
    return tokens


def _tail(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
    except OSError as error:
        return str(error)
