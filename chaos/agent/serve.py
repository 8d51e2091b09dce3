"""JSON lines on stdin and stdout: {"id", "op", …} ─▶ {"id", "ok": true, …} | {"id", "error": …}; also {"event": …}.

hello    nodes [{name, address, socket, netns, port, freezer, quota, folder, disk,
         clock}], lab_socket, hub_netns, journal,
         lease_s, shaper
         (netns and hub_netns: path of a namespace, or the number of an inherited descriptor)
places   nodes [{name, address, pod}]: stand on these from now on; pod: the uid of one of this machine, "": elsewhere
inject   name, subject, action, deadline_s         heal     name
observe  kind, undo                                measure  flows, tail_s, capture
ports    source, sink, ports                       kernel   nodes
gone     pods that are here no more                clock    what time it is here
beat     renews the lease                          state    what is in force
bye      heal everything and end                   events   undone, undo failed, stop-at
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent import pods, points, replay
from chaos.agent.agent import Agent
from chaos.agent.ground import Ground, Place
from chaos.agent.identity import modules
from chaos.agent.journal import Journal, await_free
from chaos.agent.metering import Metering
from chaos.agent.shaper import probe
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_out = threading.Lock()


def serve() -> None:
    """Serve until bye, the end of stdin or SIGTERM; then undo everything and return."""
    points.stop_controller_with(lambda name: say({"event": "stop-at", "name": name}))
    agent: Agent | None = None
    watcher: threading.Thread | None = None
    for request in requests():
        if request.get("op") == "bye":
            break
        if request.get("op") != "hello":
            threading.Thread(target=answer, args=(agent, request), daemon=True).start()
        elif agent is None:
            agent = greet(request)
            watcher = threading.Thread(target=agent.watch, name="dead-men") if agent else None
            if watcher:
                watcher.start()
    if agent and watcher:
        agent.close()
        watcher.join()
        agent.ground.close()
        agent.meter.close()
        agent.journal.close()


def requests() -> Iterator[dict[str, Any]]:
    """Yield requests until stdin ends or SIGTERM comes."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    pending = b""
    while woken not in select.select([0, woken], [], [])[0]:
        data = os.read(0, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        yield from (json.loads(line) for line in lines if line.strip())


def greet(hello: Mapping[str, Any]) -> Agent | None:
    """Take up the post: journal first, then what is left over is undone, then meter and shaper."""
    try:
        folder = Path(hello["journal"])
        healed = []
        if folder.exists():
            await_free(folder)
            healed = replay.heal(folder)
        journal = Journal(folder)
        replay.note_ground(folder, hello)
        ground = ground_of(hello)
        meter = Metering(ground.here)
        agent = Agent(ground, journal, meter, float(hello["lease_s"]), say)
        shaper = _shaper_of(ground)
    except Exception as error:  # noqa: BLE001 - the controller must hear why, and we are of no use without
        say({"id": hello.get("id"), "error": f"hello: {type(error).__name__}: {error}"})
        return None
    told = {"healed": healed, "shaper": shaper, "meter": {"realtime": meter.realtime, "ports": meter.ports}}
    say({"id": hello.get("id"), "ok": True, **told, "modules": modules()})
    return agent


def _shaper_of(ground: Ground) -> dict[str, Any]:
    why = dict(probe())
    try:
        shaper = ground.shaper()
    except AgentError as error:
        return {"backend": "", "realtime": False, "why": why, "error": str(error)}
    return {"backend": shaper.backend, "realtime": shaper.realtime, "why": why, "error": ""}


def ground_of(hello: Mapping[str, Any]) -> Ground:
    """Open the namespaces named in a hello."""
    hub = _netns(hello["hub_netns"])
    places = places_of(hello["nodes"], hub)
    ground = Ground(lab_socket=hello["lab_socket"], hub_netns=hub, places={}, shaper_backend=hello.get("shaper"))
    ground.settle(places)
    return ground


def places_of(nodes: Iterable[Mapping[str, Any]], hub: int) -> dict[str, Place]:
    """Return the places of a hello, or of the op of that name; AgentError for a pod that is not here."""
    found: dict[str, Place] = {}
    try:
        for node in nodes:
            found[node["name"]] = Place(**_placed(node, hub))
    except BaseException:
        for place in found.values():
            if place.pod:  # its namespace was opened here
                os.close(place.netns)
        raise
    return found


def _placed(node: Mapping[str, Any], hub: int) -> dict[str, Any]:
    if uid := node.get("pod"):
        return {**pods.place(node["name"], node["address"], uid, hub), "pod": uid}
    return {**node, "netns": _netns(node.get("netns", -1))}


def _netns(where: str | int) -> int:
    return where if isinstance(where, int) else os.open(where, os.O_RDONLY | os.O_CLOEXEC)


def answer(agent: Agent | None, request: Mapping[str, Any]) -> None:
    """Carry out one request and say what came of it."""
    number = request.get("id")
    try:
        say({"id": number, "ok": True, **carry_out(agent, request)})
    except Exception as error:  # noqa: BLE001 - the agent must survive any request; the controller is told
        text = str(error) if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"
        say({"id": number, "error": text})


def carry_out(agent: Agent | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to one request; AgentError if it can't be had."""
    op = str(request.get("op"))
    if agent is None:
        raise AgentError(f"{op}: say hello first")
    if op == "places":
        return settle(agent, request)
    if op not in agent.answers:
        raise AgentError(f"no such op {op!r}; known: hello, bye, {', '.join(sorted(agent.answers))}")
    return agent.answers[op](request)


def settle(agent: Agent, request: Mapping[str, Any]) -> dict[str, Any]:
    """Let the agent stand on other places; AgentError while something is in force, or a pod is not here."""
    if in_force := agent.state({})["in_force"]:
        raise AgentError(f"places can't change while {', '.join(sorted(in_force))} is in force; heal it first")
    places = places_of(request["nodes"], agent.ground.hub_netns)
    replay.note_ground(agent.journal.folder, {"lab_socket": agent.ground.lab_socket, **request})
    agent.meter.move({name: place for name, place in places.items() if place.netns >= 0})
    agent.ground.settle(places)
    return {"shaper": _shaper_of(agent.ground), "ports": agent.meter.ports}


def say(data: Mapping[str, Any]) -> None:
    """Write one line; a controller that is gone hears nothing (stdin's end will tell us)."""
    line = json.dumps(data).encode() + b"\n"
    with _out, suppress(BrokenPipeError):
        while line:
            line = line[os.write(1, line) :]
