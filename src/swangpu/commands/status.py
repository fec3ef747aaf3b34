"""``swangpu status``: what can be had, and what is mine."""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec

from ..kernel_side import render
from .place import client_for

__all__ = ["main"]


def main(asked: argparse.Namespace) -> int:
    with client_for(asked) as client:
        pools, sessions = client.pools(), client.sessions()
        # for `status` nobody is asked what they want: offers without a size are a look at the whole
        offers = client.offers()
    if asked.json:
        both: dict[str, Any] = {"offers": offers, "pools": pools, "sessions": sessions}
        print(json.dumps(msgspec.to_builtins(both), indent=2))
        return 0
    live = [one for one in sessions.items if one.mine and one.state != "ended"]
    view = render.sessions(msgspec.to_builtins(live)).extend(render.offers(msgspec.to_builtins(offers.items)))
    for pool in pools.items:
        if not pool.available:
            why = pool.reason.text if pool.reason else "It does not answer."
            view.add("head", pool.title).add("line", why).add("line", pool.hint or "")
    print(view.text.replace("`%gpu get", "`swangpu run --memory").replace(" --for 2h`", " -- python train.py`"))
    return 0
