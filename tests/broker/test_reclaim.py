"""Idle, warned, paused, released: what is taken from whom, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk, two_held
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.domain.sessions import ComesBack, EndReason, PausePhase, SessionState


def test_nothing_is_taken_while_nobody_waits() -> None:
    desk = Desk(ENFORCE)
    held = two_held(desk)
    desk.pass_time(7000)
    assert [desk[s].state for s in held] == [SessionState.ACTIVE] * 2


def test_an_idle_session_is_paused_for_who_waits_and_its_next_cell_gets_a_gpu_back() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk)
    desk.pass_time(30)
    carol = desk.get(user="carol")
    desk.pass_time(29)
    assert desk[carol].state is SessionState.QUEUED, "not idle for long enough"
    desk.pass_time(2)
    assert desk[carol].state is SessionState.READY
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares == ()
    assert desk[bob].state is SessionState.ACTIVE, "no more than is needed"
    left_s = (desk[alice].lease_until or 0.0) - desk.now
    desk.send(ev.Claimed(carol))
    desk.work(carol)
    desk.pass_time(600)
    assert desk[alice].state is SessionState.PAUSED
    desk.comes_back = ComesBack.ANYWHERE
    desk.send(ev.ActivityReported(alice, True))
    # bob is idle, but alice has to come back to the device that carol computes on
    assert desk[alice].pause is not None
    assert desk[alice].pause.phase is PausePhase.WANTED
    desk.work(carol, busy=False)
    desk.pass_time(61)
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].busy
    assert desk[carol].state is SessionState.PAUSED
    assert desk[alice].lease_until == pytest.approx(desk.now + left_s), "the lease stood still"


def test_without_a_time_of_idleness_a_session_gives_way_as_its_cell_ends() -> None:
    desk = Desk(Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=0.0, residency_s=0.0)),)))
    alice, bob = two_held(desk)
    desk.work(alice)
    desk.work(bob)
    carol = desk.get(user="carol")
    desk.pass_time(5)
    desk.work(bob, busy=False)
    assert desk[bob].state is SessionState.PAUSED
    assert desk[carol].state is SessionState.READY


def test_a_session_that_can_go_anywhere_comes_back_where_something_is_idle() -> None:
    desk = Desk(ENFORCE)
    desk.comes_back = ComesBack.ANYWHERE
    alice, bob = two_held(desk)
    desk.pass_time(61)
    carol = desk.get(user="carol")
    desk.work(carol)
    desk.pass_time(61)
    desk.send(ev.ActivityReported(alice, True))
    assert desk[bob].state is SessionState.PAUSED
    assert desk[alice].state is SessionState.ACTIVE


def test_who_computes_is_never_paused() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk)
    desk.work(alice)
    desk.work(bob)
    desk.pass_time(3600)
    desk.get(user="carol")
    desk.pass_time(3000)
    assert [desk[s].state for s in (alice, bob)] == [SessionState.ACTIVE] * 2


def test_what_cannot_be_paused_is_warned_then_released() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk, methods=())
    desk.pass_time(1700)
    carol = desk.get(user="carol")
    desk.pass_time(150)
    warned = [n for n in desk.notices if n.code == "idle_ends"]
    assert [(n.user, n.actions) for n in warned] == [("alice", ("extend", "release"))]
    desk.send(ev.Extended(alice, 600.0))
    desk.pass_time(200)
    assert [n.user for n in desk.notices if n.code == "idle_ends"] == ["alice", "bob"]
    desk.pass_time(250)
    assert desk[alice].state is SessionState.ACTIVE, "who extends is there"
    assert desk[bob].end_reason is EndReason.RECLAIMED
    assert desk.ended[bob] == ("reclaimed", "idle"), "what took it is in the usage record"
    assert "somebody waited" in (desk[bob].reason.text if desk[bob].reason else "")
    assert desk[carol].state is SessionState.READY


def test_who_has_the_longest_lease_is_not_offered_to_extend_it() -> None:
    desk = Desk(ENFORCE)
    for session in two_held(desk, methods=()):
        desk.send(ev.Extended(session, 1e9))
    desk.pass_time(1700)
    desk.get(user="carol")
    desk.pass_time(150)
    assert [n.actions for n in desk.notices if n.code == "idle_ends"] == [("release",)]


def test_a_session_on_several_gpus_is_warned_and_not_paused() -> None:
    desk = Desk(ENFORCE)
    alice = desk.get(user="alice", count=2)
    desk.work(alice)
    desk.work(alice, busy=False)
    desk.pass_time(1900)
    desk.get(user="carol")
    desk.pass_time(10)
    assert desk[alice].state is SessionState.ACTIVE
    assert [n.code for n in desk.notices] == ["idle_ends"]


def warned(desk: Desk) -> tuple[str, str, str]:
    """Two hold and are idle, a third waits, and the first was told that it goes."""
    alice, bob = two_held(desk, methods=())
    desk.pass_time(1850)
    carol = desk.get(user="carol")
    desk.pass_time(10)
    assert desk[alice].idle_ends_at is not None
    return alice, bob, carol


def test_a_warning_is_forgotten_when_a_cell_runs_or_nobody_waits_any_more() -> None:
    desk = Desk(ENFORCE)
    alice, bob, carol = warned(desk)
    desk.work(alice, methods=())
    assert desk[alice].idle_ends_at is None
    desk.pass_time(20)
    assert desk[bob].idle_ends_at is not None
    desk.send(ev.Released(carol, undoable=False))
    desk.pass_time(400)
    assert desk[bob].state is SessionState.ACTIVE
    assert desk[bob].idle_ends_at is None


def test_a_lease_that_ends_while_the_clock_jumps_ends_also_for_an_idle_one_that_might_have_stayed() -> None:
    desk = Desk(ENFORCE)
    alice, _, carol = warned(desk)
    desk.send(ev.Released(carol, undoable=False))
    desk.broker.handle(ev.Ticked(), (desk[alice].lease_until or 0.0) + 1.0)
    assert desk[alice].end_reason is EndReason.EXPIRED


def usage(desk: Desk, session_id: str) -> cmd.RecordUsage:
    """What the ledger gets when the session ends now."""
    seen: list[cmd.RecordUsage] = []
    handle = desk.broker.handle

    def watch(event: ev.Event, now: float) -> list[cmd.Command]:
        out = handle(event, now)
        seen.extend(c for c in out if isinstance(c, cmd.RecordUsage))
        return out

    desk.broker.handle = watch  # type: ignore[method-assign]
    desk.send(ev.Released(session_id, undoable=False))
    return seen[0]


def test_a_policy_that_advises_counts_and_takes_nothing() -> None:
    desk = Desk()
    alice, _bob = two_held(desk)
    desk.pass_time(100)
    desk.get(user="carol")
    desk.pass_time(500)
    assert desk[alice].state is SessionState.ACTIVE
    assert desk.notices == []
    assert usage(desk, alice).record.recoverable_s == pytest.approx(500.0, abs=1.0)


def test_a_policy_that_warns_tells_once_and_takes_nothing() -> None:
    desk = Desk(Policy(reclaim=(("local", Reclaim(ReclaimMode.WARN)),)))
    alice, _bob = two_held(desk)
    desk.pass_time(100)
    desk.get(user="carol")
    desk.pass_time(1000)
    assert [(n.user, n.code) for n in desk.notices] == [("alice", "idle_wanted")]
    assert desk[alice].state is SessionState.ACTIVE


def test_held_time_is_counted_once_and_not_while_paused() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    assert desk[alice].state is SessionState.PAUSED
    desk.pass_time(300)
    desk.send(ev.Released(carol, undoable=False))
    desk.send(ev.ActivityReported(alice, True))
    desk.pass_time(50)
    record = usage(desk, alice).record
    assert record.held_s == pytest.approx(150.0)
    assert record.paused_s == pytest.approx(300.0)
    assert record.pauses == 1
    assert record.busy_s == pytest.approx(50.0)
    assert usage(desk, bob).record.held_s == pytest.approx(450.0)
