"""Sessions that have stayed on their device are moved out when somebody needs the room, in virtual time."""

from __future__ import annotations

from broker.desk import Desk
from broker.fleet import GB
from broker.residents_desk import ask, beside, phase, residents, small_desk, wants
from swangpu.broker import events as ev
from swangpu.domain.sessions import EndReason, PausePhase, SessionState


def one_on_its_way_out() -> tuple[Desk, str, str]:
    """Carol asks for all of the device on which alice has stayed; that alice is out of it has not been said yet."""
    desk = small_desk()
    alice, bob = beside(desk, 2, 2)
    desk.send(ev.Released(bob, undoable=False))
    desk.pauses = False
    return desk, alice, ask(desk, "carol", 16)


# -- moving out -------------------------------------------------------------------------------------


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
    desk, alice, carol = one_on_its_way_out()
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
    desk, alice, carol = one_on_its_way_out()
    desk.pass_time(40)
    wants(desk, alice)
    assert phase(desk, alice) is PausePhase.SAVING
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    assert phase(desk, alice) is PausePhase.WANTED
    assert desk[carol].state is SessionState.READY


def test_that_it_had_stayed_said_late_does_not_count_as_moved() -> None:
    desk, alice, carol = one_on_its_way_out()
    desk.send(ev.PauseSaved(alice, "resident", resident_bytes=2 * GB))
    assert phase(desk, alice) is PausePhase.SAVING
    assert desk[carol].state is SessionState.QUEUED


def test_what_could_not_be_moved_out_has_its_gpu_back() -> None:
    desk, alice, carol = one_on_its_way_out()
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
    desk, alice, carol = one_on_its_way_out()
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
