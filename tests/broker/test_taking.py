"""What is taken from whom: only what nobody computes on, only for who can use it, and only while they wait."""

from __future__ import annotations

from broker.desk import Desk
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode, Reservation
from swangpu.domain.rows import replace
from swangpu.domain.sessions import SessionKind, SessionState

ENFORCE = Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)),))


def idle(desk: Desk, session_id: str, methods: tuple[str, ...] = ("offload",)) -> str:
    """A cell has run on a session."""
    desk.work(session_id, methods=methods)
    desk.work(session_id, busy=False, methods=methods)
    return session_id


def test_a_command_computes_as_long_as_it_runs() -> None:
    desk = Desk(ENFORCE)
    jobs = [desk.get(user=user, kind=SessionKind.JOB) for user in ("alice", "bob")]
    desk.pass_time(1900)
    desk.get(user="carol")
    desk.pass_time(600)
    assert [desk[job].state for job in jobs] == [SessionState.ACTIVE] * 2
    assert desk.notices == [], "nobody says that it was idle"
    assert [desk[job].recoverable_s for job in jobs] == [0.0, 0.0]


def test_a_command_is_not_counted_as_idle_where_a_policy_only_advises() -> None:
    desk = Desk()
    job = desk.get(user="alice", kind=SessionKind.JOB)
    desk.get(user="bob", kind=SessionKind.JOB)
    desk.pass_time(1900)
    desk.get(user="carol")
    desk.pass_time(10)
    assert desk[job].advised_from is None


# -- reservations ----------------------------------------------------------------------------------


def reserved(desk: Desk, count: int, in_s: float = 0.0, policy: Policy | None = None) -> None:
    """Whole T4s are set aside for eva."""
    start = desk.now + in_s
    one = Reservation("r1", "Tutorial", start, start + 7200.0, "local", "t4", count, ("eva",))
    desk.send(ev.Configured(replace(policy or Policy(), version=2, reservations=(one,))))


def test_who_may_not_have_what_is_set_aside_keeps_nobody_from_it() -> None:
    desk = Desk()
    reserved(desk, count=2)
    assert desk[desk.get(user="alice")].state is SessionState.QUEUED
    assert desk[desk.get(user="eva")].state is SessionState.ACTIVE, "it is hers, though alice came first"


def test_who_waits_for_more_than_a_reservation_leaves_keeps_nobody_from_the_rest() -> None:
    desk = Desk()
    reserved(desk, count=1)
    assert desk[desk.get(user="alice", count=2)].state is SessionState.QUEUED
    assert desk[desk.get(user="bob")].state is SessionState.ACTIVE
