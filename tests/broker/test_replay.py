"""The same events give the same state in any process, and what one process wrote another one reads."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

from broker.world import World
from broker.world_asks import USERS, random_request
from swangpu.broker import events as ev
from swangpu.broker.state import BrokerState, Changes
from swangpu.ledger.codec import decode, encode

STEPS = 1500


def live_through(seed: int, steps: int = STEPS) -> World:
    """A random life of a broker."""
    world, rng = World(seed=seed), random.Random(seed)
    for _ in range(steps):
        session_id = rng.choice(world.ids) if world.ids else "none"
        what = rng.randrange(9)
        if what <= 2:
            world.request(rng.choice(USERS), random_request(rng))
        elif what == 3:
            world.send(ev.Claimed(session_id))
        elif what == 4:
            world.send(ev.Released(session_id, rng.random() < 0.5))
        elif what == 5:
            world.send(ev.Undone(session_id))
        elif what == 6:
            world.settle()
        else:
            world.advance(rng.choice([0.5, 20.0, 700.0]))
    return world


def digest(state: BrokerState) -> str:
    return hashlib.sha256(encode(state).encode()).hexdigest()


def reload(snapshot: str, journal: list[str]) -> BrokerState:
    state: BrokerState = decode(snapshot, {"BrokerState": BrokerState})
    for line in journal:
        state.apply(decode(line, {"Changes": Changes}))
    return state


def other_process(program: str, hash_seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_another_process_with_another_hash_seed_decides_the_same() -> None:
    here = [digest(live_through(seed).broker.state) for seed in (1, 2)]
    program = "from broker.test_replay import *; print([digest(live_through(s).broker.state) for s in (1, 2)])"
    for hash_seed in ("1", "424242"):
        assert other_process(program, hash_seed) == str(here)


def test_another_process_reads_what_this_one_wrote(tmp_path: Path) -> None:
    world = live_through(3, 400)
    world.keep_snapshot()
    world.advance(1.0)
    for _ in range(100):
        world.request("alice", random_request(world.random))
        world.advance(30.0)
        world.settle()
    (tmp_path / "snapshot").write_text(world.snapshot)
    (tmp_path / "journal").write_text("\n".join(world.journal))
    program = f"""
from pathlib import Path
from broker.test_replay import *
folder = Path({str(tmp_path)!r})
print(digest(reload((folder / "snapshot").read_text(), (folder / "journal").read_text().splitlines())))
"""
    assert len(world.journal) > 50
    assert other_process(program, "77") == digest(world.broker.state)
