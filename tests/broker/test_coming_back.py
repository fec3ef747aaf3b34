"""Where a session that was put aside comes back: on its own device, on another of its flavor, or anywhere."""

from __future__ import annotations

import json

from broker.desk import ENFORCE, Desk, order, reason, two_held
from broker.fleet import GB, inventory, whole
from swangpu.broker import events as ev
from swangpu.broker.estimate import frees_at
from swangpu.broker.queue import wanted_by
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Flavor, ShareKind
from swangpu.domain.rows import replace
from swangpu.domain.sessions import ComesBack, PausePhase, SessionState
from swangpu.ledger.codec import decode, encode


def device_of(desk: Desk, session_id: str) -> str | None:
    shares = desk[session_id].shares
    return shares[0].device_uuid if shares else None


def put_aside(desk: Desk, where: ComesBack, flavor: str | None = "t4", **request: object) -> tuple[str, str, str]:
    """Alice's session is paused, and what it had is carol's; bob has the other T4. With alice's device."""
    desk.comes_back = where
    alice = desk.get(flavor, user="alice", **request)
    bob = desk.get("t4", user="bob")
    desk.work(alice, methods=("checkpoint",))
    desk.work(alice, busy=False, methods=("checkpoint",))
    desk.work(bob)
    device = device_of(desk, alice)
    desk.send(ev.Paused(alice))
    carol = desk.get(desk[alice].flavor, user="carol")
    desk.work(carol)
    assert device is not None
    assert device_of(desk, carol) == device
    return alice, bob, device


def wants(desk: Desk, session_id: str) -> None:
    desk.send(ev.ActivityReported(session_id, True))


def test_it_comes_back_on_another_device_of_the_same_flavor() -> None:
    desk = Desk(ENFORCE)
    alice, bob, device = put_aside(desk, ComesBack.FLAVOR)
    wants(desk, alice)
    assert order(desk) == ["alice"]
    assert reason(desk, alice).startswith("All of T4 are in use; you are next.")
    desk.send(ev.Released(bob, undoable=False))
    assert desk[alice].state is SessionState.ACTIVE
    assert device_of(desk, alice) not in (None, device)
    assert desk[alice].flavor == "t4"


def test_without_that_it_waits_for_its_own() -> None:
    desk = Desk(ENFORCE)
    alice, bob, device = put_aside(desk, ComesBack.DEVICE)
    wants(desk, alice)
    assert reason(desk, alice).startswith("Its own GPU is in use")
    desk.send(ev.Released(bob, undoable=False))
    assert desk[alice].state is SessionState.PAUSED
    carol = next(s.id for s in desk.broker.state.live() if s.user == "carol")
    desk.send(ev.Released(carol, undoable=False))
    assert device_of(desk, alice) == device


def test_it_never_comes_back_on_another_model() -> None:
    """It had asked for so much memory only, and another model has that too."""
    desk = Desk(ENFORCE)
    fleet = inventory(2.0)
    l4, flavor = whole("L1", "l4", 24), Flavor("l4", "L4", 24 * GB, ShareKind.WHOLE)
    desk.send(ev.InventoryReported(replace(fleet, shares=(*fleet.shares, l4), flavors=(*fleet.flavors, flavor))))
    alice, bob, device = put_aside(desk, ComesBack.FLAVOR, None, memory_bytes=10 * GB)
    wants(desk, alice)
    assert desk[alice].state is SessionState.PAUSED, "an L4 is free, and it was on a T4"
    request = wanted_by(desk[alice])
    assert (request.flavor, request.memory_bytes, request.pools) == ("t4", None, ("local",))
    assert reason(desk, alice).startswith("All of T4 are in use; you are next.")
    desk.send(ev.Released(bob, undoable=False))
    assert desk[alice].flavor == "t4"
    assert device_of(desk, alice) not in (None, device)
    # what nothing binds takes what comes
    desk.comes_back = ComesBack.ANYWHERE
    desk.work(alice, busy=False)
    desk.send(ev.Paused(alice))
    desk.get("t4", user="dave")
    wants(desk, alice)
    assert desk[alice].flavor == "l4"


def test_a_part_of_a_device_is_not_remapped() -> None:
    desk = Desk(ENFORCE)
    desk.comes_back = ComesBack.FLAVOR
    alice = desk.get("t4/time-2", user="alice")
    desk.work(alice)
    desk.work(alice, busy=False)
    desk.send(ev.Paused(alice))
    pause = desk[alice].pause
    assert pause is not None
    assert (pause.remaps, pause.device_uuid) == (False, "T1")


def test_its_own_device_is_taken_where_it_is_free_too() -> None:
    for other_first in (True, False):
        desk = Desk(ENFORCE)
        desk.comes_back = ComesBack.FLAVOR
        held = two_held(desk)
        mine, other = held if other_first else held[::-1]
        device = device_of(desk, mine)
        desk.send(ev.Paused(mine))
        desk.send(ev.Released(other, undoable=False))
        wants(desk, mine)
        assert device_of(desk, mine) == device, "where it was nothing has to be mapped"


def test_idle_sessions_on_any_of_them_give_way_to_it() -> None:
    desk = Desk(ENFORCE)
    alice, bob, _ = put_aside(desk, ComesBack.FLAVOR)
    desk.work(bob, busy=False)
    wants(desk, alice)
    at = frees_at(desk.broker.state, wanted_by(desk[alice]), desk.now)
    assert at[0] <= desk.now + 70
    desk.pass_time(70)
    assert desk[bob].state is SessionState.PAUSED
    assert desk[alice].state is SessionState.ACTIVE


def test_where_the_other_device_is_refused_it_waits_for_its_own() -> None:
    desk = Desk(ENFORCE)
    alice, bob, device = put_aside(desk, ComesBack.FLAVOR)
    desk.pauses = False
    wants(desk, alice)
    desk.send(ev.Released(bob, undoable=False))
    assert device_of(desk, alice) not in (None, device)
    desk.send(ev.ResumeFailed(alice, "map_refused", "The driver did not let it.", own_device=True))
    desk.pass_time(60)
    pause = desk[alice].pause
    assert pause is not None
    assert (pause.phase, pause.attempts) == (PausePhase.WANTED, 0), "that counts for no attempt"
    assert reason(desk, alice).startswith("Its own GPU is in use")
    carol = next(s.id for s in desk.broker.state.live() if s.user == "carol")
    desk.send(ev.Released(carol, undoable=False))
    assert device_of(desk, alice) == device
    for wait_s in (2, 30, 0):
        desk.send(ev.ResumeFailed(alice, "map_refused", "The driver did not let it.", own_device=True))
        desk.pass_time(wait_s)
    assert desk[alice].state is SessionState.ENDED, "on its own device it counts"


def test_a_state_that_was_written_before_waits_for_its_own_device() -> None:
    desk = Desk(ENFORCE)
    alice, bob, _ = put_aside(desk, ComesBack.DEVICE)
    written = encode(desk.broker.state)
    assert '"remaps"' not in json.dumps(_without(json.loads(written), "remaps", "room_bytes"))
    old = json.dumps(_without(json.loads(written), "remaps", "room_bytes"))
    desk.broker.state = decode(old, {"BrokerState": BrokerState})
    desk.send(ev.Recovered())
    wants(desk, alice)
    desk.send(ev.Released(bob, undoable=False))
    assert desk[alice].state is SessionState.PAUSED


def _without(value: object, *names: str) -> object:
    if isinstance(value, dict):
        return {k: _without(v, *names) for k, v in value.items() if k not in names}
    return [_without(v, *names) for v in value] if isinstance(value, list) else value
