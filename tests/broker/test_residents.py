"""Paused sessions that stay on their device, as long as memory suffices, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk
from broker.fleet import GB, whole
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind
from swangpu.domain.sessions import EndReason, PausePhase, Session, SessionState
from swangpu.ledger.codec import decode, encode


def one_device(as_of: float, lost: bool = False, shares: tuple[Share, ...] = ()) -> PoolInventory:
    """A device of 16 GB that can be had as a whole only."""
    return PoolInventory(
        "local",
        "This machine",
        True,
        True,
        as_of,
        shares or (whole("T1"),),
        (
            Flavor("t4", "T4", 16 * GB, ShareKind.WHOLE),
            Flavor("t4/time-2", "T4 half, 8 GB", 8 * GB, ShareKind.TIME_SLICE),
        ),
        lost=("T1",) if lost else (),
    )


def small_desk(policy: Policy = ENFORCE) -> Desk:
    desk = Desk(policy)
    desk.stays = True
    desk.send(ev.InventoryReported(one_device(desk.now)))
    return desk


def ask(desk: Desk, user: str, memory_gb: int | None) -> str:
    """Somebody asks for so much memory, or for the whole device; computes at once if it is their turn."""
    got = desk.get("t4", user=user) if memory_gb is None else desk.get(None, user=user, memory_bytes=memory_gb * GB)
    if desk[got].state is SessionState.ACTIVE:
        desk.work(got)
        desk.work(got, busy=False)
    return got


def goes_on(desk: Desk, session_id: str) -> None:
    """Its turn may have come: it is claimed, and computes for a moment."""
    if desk[session_id].state is SessionState.READY:
        desk.send(ev.Claimed(session_id))
    desk.work(session_id)
    desk.work(session_id, busy=False)


def beside(desk: Desk, *asks: int) -> list[str]:
    """So many take turns on the device, each when the one before has been idle for long enough."""
    out: list[str] = []
    for number, memory_gb in enumerate(asks):
        out.append(ask(desk, f"user{number}", memory_gb))
        desk.pass_time(100)
        goes_on(desk, out[-1])
    desk.pass_time(100)
    return out


def residents(desk: Desk) -> dict[str, int]:
    found = {}
    for session in desk.broker.state.live():
        if session.pause is not None and session.pause.resident_on is not None and not session.shares:
            found[session.user] = session.pause.resident_bytes
    return found


def phase(desk: Desk, session_id: str) -> PausePhase | None:
    pause = desk[session_id].pause
    return pause.phase if pause is not None else None


def wants(desk: Desk, session_id: str) -> None:
    desk.send(ev.ActivityReported(session_id, True))


# -- staying ---------------------------------------------------------------------------------------


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


# -- moving out ------------------------------------------------------------------------------------


def test_who_asks_for_all_of_it_has_all_moved_out_before_it_is_theirs() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    assert desk.left == [alice]
    assert desk.may_stay[bob] == 0
    desk.send(ev.PauseSaved(bob, "offload", 2 * GB))
    assert desk[carol].state is SessionState.QUEUED, "alice's arrays are on it still"
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    assert desk[carol].state is SessionState.READY
    assert residents(desk) == {}


def test_while_one_is_moved_out_nobody_else_gets_the_device() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    dave = ask(desk, "dave", 2)
    assert desk.left == [alice]
    assert [desk[i].state for i in (carol, dave)] == [SessionState.QUEUED, SessionState.QUEUED]
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    assert desk[carol].state is SessionState.READY
    assert desk[dave].state is SessionState.QUEUED


def test_as_many_as_are_needed_are_moved_out_the_longest_idle_first() -> None:
    desk = small_desk()
    desk.saves_bytes = 3 * GB
    first, _second, _third, fourth = beside(desk, 3, 3, 3, 3)
    assert len(residents(desk)) == 3
    desk.send(ev.Released(fourth, undoable=False))
    ask(desk, "eve", 9)
    assert desk.left == [first]
    assert residents(desk) == {"user1": 3 * GB, "user2": 3 * GB}


def test_who_fits_beside_what_has_stayed_moves_nobody() -> None:
    desk = small_desk()
    _alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    eve = ask(desk, "eve", 14)
    assert desk[eve].state is SessionState.ACTIVE
    assert desk.left == []


def test_one_that_is_wanted_meanwhile_waits_for_its_turn() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    desk.pass_time(40)
    wants(desk, alice)
    assert phase(desk, alice) is PausePhase.SAVING
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    assert phase(desk, alice) is PausePhase.WANTED
    assert desk[carol].state is SessionState.READY


def test_that_it_had_stayed_said_late_does_not_count_as_moved() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    desk.send(ev.PauseSaved(alice, "resident", resident_bytes=2 * GB))
    assert phase(desk, alice) is PausePhase.SAVING
    assert desk[carol].state is SessionState.QUEUED


def test_what_could_not_be_moved_out_has_its_gpu_back() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    text = "It needs 2 GB of host memory, and 1 GB are left for paused sessions."
    desk.send(ev.PauseFailed(alice, "no_room", text))
    assert desk[carol].state is SessionState.QUEUED
    assert phase(desk, alice) is PausePhase.RESTORING
    desk.send(ev.ResumeDone(alice))
    assert desk[alice].state is SessionState.ACTIVE
    said = desk[alice].reason
    assert said is not None
    assert said.code == "no_room"
    assert said.text.endswith(text)
    desk.pauses = True
    desk.pass_time(400)
    assert desk[carol].state is SessionState.READY, "it is asked again after a while"


def test_what_could_not_be_moved_out_while_somebody_holds_the_device_stays() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.work(bob)
    desk.pauses = False
    desk.send(ev.MemoryShort("T1"))
    assert desk.left == [alice]
    desk.send(ev.PauseFailed(alice, "not_saved", "What it has on the device could not be moved."))
    assert phase(desk, alice) is PausePhase.SAVED
    assert residents(desk) == {"user0": 2 * GB}
    desk.send(ev.MemoryShort("T1"))
    assert desk.left == [alice], "not at once again"
    desk.pass_time(301)
    desk.send(ev.MemoryShort("T1"))
    assert desk.left == [alice, alice]


def test_one_for_whom_others_would_wait_in_vain_is_given_up_in_the_end() -> None:
    desk = small_desk()
    desk.saves_bytes = 6 * GB
    first, second, third = beside(desk, 16, 2, 2)
    assert residents(desk) == {"user0": 6 * GB, "user1": 6 * GB}
    desk.pauses = False
    carol = ask(desk, "carol", 12)
    desk.send(ev.Released(third, undoable=False))
    for _ in range(3):
        assert desk[first].state is SessionState.PAUSED
        assert phase(desk, first) is PausePhase.SAVING
        desk.send(ev.PauseFailed(first, "no_room", "There is no room for it."))
        desk.pass_time(400)
    assert desk[first].end_reason is EndReason.FAILED, "it asked for all of it once, and can't have that beside another"
    desk.send(ev.PauseSaved(second, "offload", 6 * GB))
    assert desk[carol].state is SessionState.READY


def test_one_that_does_not_survive_being_moved_out_is_lost() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    carol = ask(desk, "carol", 16)
    desk.send(ev.PauseFailed(alice, "kernel_died", "Its kernel has died.", lost=True))
    assert desk[alice].end_reason is EndReason.LOST
    assert desk[carol].state is SessionState.READY


def test_a_release_takes_it_off_the_device_before_somebody_gets_that() -> None:
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    carol = ask(desk, "carol", 16) if desk.send(ev.Released(alice)) == [] else ""
    assert desk[carol].state is SessionState.QUEUED, "its release can be taken back"
    desk.pass_time(11)
    assert desk[alice].state is SessionState.ENDED
    assert desk[carol].state is SessionState.READY


# -- memory that gets short ------------------------------------------------------------------------


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


# -- coming back -----------------------------------------------------------------------------------


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


# -- trouble ---------------------------------------------------------------------------------------


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
