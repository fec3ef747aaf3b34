"""Paused sessions that stay on their device, as long as memory suffices, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk
from broker.fleet import GB
from broker.residents_desk import ask, beside, goes_on, one_device, residents, small_desk, wants
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Share, ShareKind
from swangpu.domain.sessions import EndReason, Session, SessionState
from swangpu.ledger.codec import decode, encode

# -- staying ----------------------------------------------------------------------------------------


def test_what_fits_beside_who_comes_stays_and_comes_back_without_a_copy() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    assert desk.may_stay == {alice: 14 * GB}
    assert residents(desk) == {"user0": 2 * GB}
    assert desk[bob].state is SessionState.ACTIVE
    assert desk[alice].shares == (), "its GPU is free for others"
    wants(desk, alice)
    assert desk[alice].state is SessionState.ACTIVE
    assert residents(desk) == {"user1": 2 * GB}
    assert desk.left == [], "nothing was moved"
    for _ in range(3):
        desk.work(alice, busy=False)
        desk.pass_time(100)
        wants(desk, bob)
        desk.work(bob, busy=False)
        desk.pass_time(100)
        wants(desk, alice)
    assert desk.left == []
    assert desk[alice].state is SessionState.ACTIVE


def test_what_may_stay_is_less_with_each_that_has_stayed() -> None:
    desk = small_desk()
    first, second, _third = beside(desk, 4, 4, 4)
    assert desk.may_stay == {first: 12 * GB, second: 10 * GB}
    assert residents(desk) == {"user0": 2 * GB, "user1": 2 * GB}


def test_beside_who_asks_for_the_whole_device_nothing_stays() -> None:
    desk = small_desk()
    alice = ask(desk, "alice", 2)
    desk.pass_time(100)
    ask(desk, "bob", None)
    assert desk.may_stay == {alice: 0}
    assert residents(desk) == {}


def test_what_is_larger_than_may_stay_is_moved() -> None:
    desk = small_desk()
    desk.saves_bytes = 9 * GB
    alice, bob = beside(desk, 8, 8)
    assert desk.may_stay == {alice: 8 * GB}
    assert residents(desk) == {}
    assert desk[bob].state is SessionState.ACTIVE
    pause = desk[alice].pause
    assert pause is not None
    assert pause.saved_bytes == 9 * GB


def test_who_pauses_their_own_leaves_the_device() -> None:
    desk = small_desk()
    alice = ask(desk, "alice", 2)
    desk.send(ev.Paused(alice))
    assert desk.may_stay == {alice: 0}
    assert residents(desk) == {}


def test_a_site_can_do_without() -> None:
    rule = Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0, resident=False)
    desk = small_desk(Policy(reclaim=(("*", rule),)))
    alice, _bob = beside(desk, 2, 2)
    assert desk.may_stay == {alice: 0}


def test_what_stays_takes_no_host_memory() -> None:
    desk = small_desk(Policy(reclaim=ENFORCE.reclaim, paused_memory_bytes=3 * GB))
    alice, bob, carol = beside(desk, 2, 2, 2)
    assert len(residents(desk)) == 2
    assert desk[carol].state is SessionState.ACTIVE
    desk.send(ev.MemoryShort("T1"))
    assert desk.rooms[alice] == 3 * GB, "nothing of it is used"
    assert desk.left == [alice], "what is left for bob is not known yet"
    desk.send(ev.MemoryShort("T1"))
    assert desk.rooms[bob] == 1 * GB, "what was moved out takes from it"


# -- memory that gets short -------------------------------------------------------------------------


def test_when_the_holder_grows_all_that_have_stayed_are_moved_out_the_longest_idle_first() -> None:
    desk = small_desk()
    first, second, third = beside(desk, 4, 4, 4)
    desk.work(third)
    desk.send(ev.MemoryShort("T1"))
    assert desk.left == [first, second]
    assert residents(desk) == {}
    assert desk[third].state is SessionState.ACTIVE


def test_memory_that_is_short_elsewhere_moves_nobody() -> None:
    desk = small_desk()
    beside(desk, 4, 4)
    assert not any(isinstance(c, cmd.PauseWork) for c in desk.send(ev.MemoryShort("T9")))
    assert desk.left == []


# -- coming back ------------------------------------------------------------------------------------


def test_it_comes_back_with_what_it_asked_for_and_others_make_room() -> None:
    desk = small_desk()
    desk.saves_bytes = 6 * GB
    first, second = beside(desk, 9, 6)
    assert residents(desk) == {"user0": 6 * GB}
    wants(desk, first)
    assert desk.may_stay[second] == 7 * GB
    assert desk[first].state is SessionState.ACTIVE
    assert residents(desk) == {"user1": 6 * GB}


def test_one_that_fails_to_come_back_is_there_still() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    wants(desk, alice)
    assert residents(desk) == {}, "it holds the device again"
    desk.send(ev.ResumeFailed(alice, "no_answer", "Its agent does not answer."))
    assert residents(desk) == {"user0": 2 * GB}
    ask(desk, "carol", 16)
    assert desk.left == [alice]


def test_half_a_device_is_as_good_as_the_other_half() -> None:
    desk = Desk(ENFORCE)
    desk.stays = True
    halves = tuple(
        Share(f"T1/time-{i}of2", "local", "t4/time-2", ShareKind.TIME_SLICE, "T1", 8 * GB, fraction=0.5)
        for i in range(2)
    )
    desk.send(ev.InventoryReported(one_device(desk.now, shares=halves)))
    alice, bob = ask(desk, "alice", 2), ask(desk, "bob", 2)
    desk.pass_time(100)
    carol = ask(desk, "carol", 2)
    assert residents(desk) == {"alice": 2 * GB}
    goes_on(desk, carol)
    desk.work(carol)
    desk.send(ev.Released(bob, undoable=False))
    wants(desk, alice)
    assert [s.id for s in desk[alice].shares] == ["T1/time-1of2"]
    assert desk.left == []


# -- trouble ----------------------------------------------------------------------------------------


def test_a_device_that_does_not_come_back_takes_with_it_what_has_stayed_there() -> None:
    desk = small_desk()
    alice, _bob = beside(desk, 2, 2)
    desk.send(ev.InventoryReported(one_device(desk.now, lost=True)))
    desk.send(ev.MemoryShort("T1"))
    assert desk.left == []
    desk.pass_time(200)
    assert desk[alice].end_reason is EndReason.LOST


def test_after_a_restart_it_is_known_who_has_stayed() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.broker.state = decode(encode(desk.broker.state), {"BrokerState": BrokerState})
    desk.send(ev.Recovered())
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    ask(desk, "carol", 16)
    assert desk.left == [alice]
    desk.send(ev.Recovered())
    assert desk.left == [alice, alice], "what was under way is said again"


@pytest.mark.parametrize("gone", ["stays_bytes", "resident_bytes", "resident_on"])
def test_a_ledger_of_before_is_read(gone: str) -> None:
    desk = small_desk()
    alice, _bob = beside(desk, 2, 2)
    text = encode(desk.broker.state)
    assert gone in text
    old = text.replace('"resident_on":' + _json_of(desk[alice]), '"resident_on":null')
    for name, value in (("stays_bytes", "0"), ("resident_bytes", str(2 * GB)), ("resident_on", "null")):
        old = old.replace(f',"{name}":{value}', "")
    assert gone not in old
    read = decode(old, {"BrokerState": BrokerState}).sessions[alice].pause
    assert (read.stays_bytes, read.resident_bytes, read.resident_on) == (0, 0, None)


def _json_of(session: Session) -> str:
    pause = session.pause
    assert pause is not None
    assert pause.resident_on is not None
    text = encode(pause.resident_on)
    return text.replace('"type":"Share",', "").replace(',"type":"Share"', "")
