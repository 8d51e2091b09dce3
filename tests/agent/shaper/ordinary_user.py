"""Run by an ordinary user inside a user namespace of its own: builds a lab, delays by NFQUEUE, cuts by nft, heals."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from shaperlab import ShaperLab

from chaos.agent.shaper import Rule, open_shaper
from chaos.model import Impairment

lab = ShaperLab(2)
with contextlib.closing(open_shaper(lab.ports, "nfqueue")) as shaper:
    shaper.set("n1", [Rule(direction="in", impairment=Impairment(delay_s=0.05))])
    delayed = lab.flow("n2", "n1").median_ms
    shaper.set("n1", [Rule(direction="in", cut=True)])
    lost = lab.flow("n2", "n1").lost_share
after = lab.flow("n2", "n1")
uid = int(Path("/proc/self/uid_map").read_text().split()[1])
said = {
    "uid": uid,
    "delay_ms": delayed,
    "lost_by_cut": lost,
    "lost_after": after.lost_share,
    "after_ms": after.median_ms,
    "realtime": shaper.realtime,
}
sys.stdout.write(json.dumps(said))
