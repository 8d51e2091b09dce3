"""Stands for the agent in tests of its death: opens a shaper on inherited namespaces, sets rules, says so, waits."""

from __future__ import annotations

import json
import sys

from chaos.agent.shaper import Port, open_shaper
from chaos.agent.shaper.values import rules_from_json

asked = json.loads(sys.argv[1])
shaper = open_shaper([Port(**port) for port in asked["ports"]], asked["backend"])
for node, rules in asked["rules"].items():
    shaper.set(node, rules_from_json(rules))
sys.stdout.write(json.dumps(shaper.state()["pids"]) + "\n")
sys.stdout.flush()
sys.stdin.read()
shaper.close()
