"""Who has paused their own and keeps the GPU, while others wait for it, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk, two_held
from broker.fleet import GB
from broker.test_paused_memory import desk_with
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.domain.sessions import EndReason, PausePhase, SessionState

NO_ROOM = "It needs 9 GB of host memory, and 4 GB are left for paused sessions."


def kept(desk: Desk, session_id: str) -> None:
    """What it has on its GPU could not be put aside, as its owner wanted."""
    desk.send(ev.PauseSaved(session_id, "gate", frees=False, code="no_room", text=NO_ROOM))


def alice_keeps_hers(desk: Desk, methods: tuple[str, ...] = ("offload",)) -> str:
    """Alice has paused her session, which keeps its GPU, bob computes on the other one."""
    desk.pauses = False
    alice, bob = two_held(desk, methods=methods)
    desk.work(bob, methods=methods)
    desk.send(ev.Paused(alice))
    kept(desk, alice)
    assert desk[alice].shares
    desk.rooms.clear()
    return alice


def warnings(desk: Desk) -> list[tuple[str, tuple[str, ...]]]:
    return [(n.user, n.actions) for n in desk.notices if n.code == "idle_ends"]


def test_it_stays_while_nobody_waits() -> None:
    desk = Desk(ENFORCE)
    alice = alice_keeps_hers(desk)
    desk.pass_time(6000)
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares
    assert desk.rooms == {}
    assert desk.notices == []


def test_when_there_is_room_for_it_it_is_put_aside_for_who_waits_and_stays_paused() -> None:
    desk = desk_with(20 * GB)
    alice = alice_keeps_hers(desk)
    carol = desk.get(user="carol")
    desk.pass_time(299)
    assert desk.rooms == {}, "not before it is worth another attempt"
    desk.pass_time(2)
    assert desk.rooms == {alice: 16 * GB}
    desk.send(ev.PauseSaved(alice, "offload", 9 * GB))
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares == ()
    assert desk[alice].reason is None, "it keeps nothing any more"
    assert desk[alice].pauses == 1
    assert desk[carol].state is SessionState.READY
    assert desk.notices == [n for n in desk.notices if n.user == "carol"], "nothing is asked of alice"


def test_as_long_as_there_is_none_it_keeps_its_gpu_then_it_is_warned_and_goes() -> None:
    desk = desk_with(4 * GB)
    alice = alice_keeps_hers(desk)
    carol = desk.get(user="carol")
    for _ in range(5):
        desk.pass_time(301)
        assert desk.rooms == {alice: 4 * GB}
        kept(desk, alice)
        assert desk[alice].state is SessionState.PAUSED
        said = desk[alice].reason
        assert said is not None
        assert said.text == f"Paused; its GPU is kept for it. {NO_ROOM}"
        desk.rooms.clear()
    assert warnings(desk) == []
    desk.pass_time(300)
    assert warnings(desk) == [("alice", ("extend", "release"))]
    desk.pass_time(290)
    assert desk[alice].state is SessionState.PAUSED
    assert desk.rooms == {}, "with another attempt the warning would begin anew"
    desk.pass_time(11)
    assert desk[alice].end_reason is EndReason.RECLAIMED
    assert desk[carol].state is SessionState.READY


def test_who_extends_keeps_it() -> None:
    desk = Desk(ENFORCE)
    alice = alice_keeps_hers(desk, methods=())
    desk.get(user="carol")
    desk.pass_time(1810)
    assert [user for user, _ in warnings(desk)] == ["alice"]
    desk.send(ev.Extended(alice, 600.0))
    desk.pass_time(1790)
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares
    assert len(warnings(desk)) == 1


def test_a_cell_that_comes_takes_the_warning_back() -> None:
    desk = Desk(ENFORCE)
    alice = alice_keeps_hers(desk, methods=())
    desk.get(user="carol")
    desk.pass_time(1810)
    desk.send(ev.ActivityReported(alice, True))
    pause = desk[alice].pause
    assert pause is not None
    assert pause.phase is PausePhase.RESTORING
    desk.send(ev.ResumeDone(alice, busy=True))
    desk.pass_time(600)
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].busy


def test_a_warning_is_forgotten_when_nobody_waits_any_more() -> None:
    desk = Desk(ENFORCE)
    alice = alice_keeps_hers(desk, methods=())
    carol = desk.get(user="carol")
    desk.pass_time(1810)
    desk.send(ev.Released(carol, undoable=False))
    desk.pass_time(600)
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares


def test_where_nothing_is_taken_it_is_counted_until_a_cell_runs() -> None:
    desk = Desk()
    alice = alice_keeps_hers(desk, methods=())
    desk.get(user="carol")
    desk.pass_time(2000)
    desk.send(ev.ActivityReported(alice, True))
    desk.send(ev.ResumeDone(alice, busy=True))
    desk.pass_time(100)
    ended = [c for c in desk.send(ev.Released(alice, undoable=False)) if isinstance(c, cmd.StopWork)]
    assert ended
    assert desk[alice].recoverable_s == pytest.approx(200.0, abs=1.0)
    assert warnings(desk) == []
