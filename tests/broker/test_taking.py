"""What is taken from whom: only what nobody computes on, only for who can use it, and only while they wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.desk import Desk
from broker.fleet import inventory
from swangpu.api.views import Known, flavor_view, session_view
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode, Reservation
from swangpu.domain.sessions import ComesBack, SessionKind, SessionState

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


def test_a_command_is_counted_as_busy() -> None:
    desk = Desk()
    desk.get(user="alice", kind=SessionKind.JOB)
    state = desk.broker.state
    pool = state.pools["local"]
    seen = flavor_view(state, pool, next(f for f in pool.flavors if f.name == "t4"))
    assert (seen.busy, seen.held_idle) == (1, 0)


def test_nobody_knows_how_long_a_command_computed() -> None:
    desk = Desk()
    job = desk.get(user="alice", kind=SessionKind.JOB)
    said = desk.broker.handle(ev.Released(job, undoable=False), desk.now + 100.0)
    said += desk.broker.handle(ev.WorkStopped(job), desk.now + 100.0)
    assert [c.record.busy_s for c in said if isinstance(c, cmd.RecordUsage)] == [None]


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


# -- what was lent ---------------------------------------------------------------------------------

LENT = (
    Group("atlas", members=("ann", "abe", "ada"), quotas=(Quota("a100*", 0.0),)),
    Group("cms", members=("cem",), quotas=(Quota("a100*", 3.0),)),
)
SLICE = "a100-40gb/1g.5gb"


def lent(desk: Desk) -> list[str]:
    """Three slices that are cms's own, and atlas computes on them."""
    held = [desk.get(SLICE, user=user, duration_s=20000.0) for user in ("ann", "abe", "ada")]
    for session in held:
        desk.work(session)
    return held


def called_back(desk: Desk) -> list[str]:
    return [n.user for n in desk.notices if n.code == "called_back"]


def test_no_more_is_called_back_than_is_wanted() -> None:
    desk = Desk(replace(ENFORCE, groups=LENT))
    held = lent(desk)
    cms = desk.get(SLICE, user="cem")
    desk.pass_time(850)
    assert called_back(desk) == ["ada"]
    desk.pass_time(60)
    assert desk[cms].state is SessionState.READY
    assert [desk[s].state for s in held] == [SessionState.ACTIVE, SessionState.ACTIVE, SessionState.ENDED]


def test_as_much_is_called_back_as_is_wanted() -> None:
    desk = Desk(replace(ENFORCE, groups=LENT))
    lent(desk)
    desk.get(SLICE, user="cem", count=2, kind=SessionKind.JOB)
    assert sorted(called_back(desk)) == ["abe", "ada"]
    desk.get(SLICE, user="cem")
    assert sorted(called_back(desk)) == ["abe", "ada", "ann"]


def test_what_was_lent_goes_back_though_it_is_idle_where_a_policy_only_advises() -> None:
    desk = Desk(Policy(groups=LENT))
    held = lent(desk)
    desk.work(held[2], busy=False)
    desk.pass_time(5)
    cms = desk.get(SLICE, user="cem")
    assert called_back(desk) == ["ada"], "an idle borrower keeps it no longer than one who computes"
    desk.pass_time(901)
    assert desk[cms].state is SessionState.READY


def test_a_lease_that_ends_before_a_reservation_is_said_to_end_as_a_lease() -> None:
    desk = Desk()
    reserved(desk, count=2, in_s=7200.0)
    session = desk.get(user="alice", duration_s=3600.0)
    ends = session_view(desk.broker.state, desk[session], Known(desk.now), for_owner=True).ends
    assert ends is not None
    assert ends.cause == "lease"
    desk.pass_time(3600)
    ended = desk[session].reason
    assert ended is not None
    assert ended.code == "lease_ended"


def test_one_that_is_extended_up_to_a_reservation_ends_for_it() -> None:
    desk = Desk()
    reserved(desk, count=2, in_s=7200.0)
    session = desk.get(user="alice", duration_s=3600.0)
    desk.send(ev.Extended(session, 7200.0))
    ends = session_view(desk.broker.state, desk[session], Known(desk.now), for_owner=True).ends
    assert ends is not None
    assert ends.cause == "reservation"


def test_a_reservation_that_is_taken_back_gives_back_what_it_cut() -> None:
    desk = Desk()
    session = desk.get(user="alice", duration_s=7200.0)
    until, limit = desk[session].lease_until, desk[session].lease_max_until
    reserved(desk, count=2, in_s=3600.0)
    assert desk[session].lease_until == desk.now + 3600.0
    desk.send(ev.Configured(Policy(version=3)))
    assert (desk[session].lease_until, desk[session].lease_max_until) == (until, limit)
    assert desk[session].lease_cause is None


def test_what_was_called_back_stays_where_it_is_if_nobody_wants_it_any_more() -> None:
    desk = Desk(replace(ENFORCE, groups=LENT))
    ada = lent(desk)[2]
    until, limit = desk[ada].lease_until, desk[ada].lease_max_until
    cms = desk.get(SLICE, user="cem")
    assert called_back(desk) == ["ada"]
    desk.pass_time(100)
    desk.send(ev.Released(cms, undoable=False))
    desk.pass_time(2000)
    assert desk[ada].state is SessionState.ACTIVE, "while nobody waits, nothing is taken"
    assert (desk[ada].lease_until, desk[ada].lease_max_until) == (until, limit)
    desk.send(ev.Extended(ada, 3600.0))


def test_what_was_called_back_and_paused_comes_back_with_its_own_lease() -> None:
    desk = Desk(replace(ENFORCE, groups=LENT))
    desk.comes_back = ComesBack.ANYWHERE
    ada = lent(desk)[2]
    left_s = (desk[ada].lease_until or 0.0) - desk.now
    cms = desk.get(SLICE, user="cem")
    desk.work(ada, busy=False)
    desk.pass_time(70)
    assert desk[ada].state is SessionState.PAUSED
    desk.send(ev.Released(cms, undoable=False))
    desk.send(ev.ActivityReported(ada, True))
    assert desk[ada].state is SessionState.ACTIVE
    assert desk[ada].lease_until == pytest.approx(desk.now + left_s, abs=71)
    assert desk[ada].lease_cause is None


# -- who waits for it ------------------------------------------------------------------------------


def test_a_running_cell_goes_on_while_those_who_wait_could_not_have_its_gpu() -> None:
    desk = Desk(Policy(user_quotas=(Quota("t4", 1.0, 0.0),)))
    alice, bob = desk.get(user="alice", duration_s=600.0), desk.get(user="bob")
    desk.work(alice)
    assert desk[desk.get(user="bob")].state is SessionState.QUEUED, "bob has what he may have"
    desk.pass_time(700)
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[bob].state is SessionState.ACTIVE


def test_a_cell_that_waits_for_another_gpu_takes_nobody_elses() -> None:
    desk = Desk(ENFORCE)
    alice, bob = desk.get(user="alice"), desk.get(user="bob", duration_s=1200.0)
    idle(desk, alice)
    desk.work(bob)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    desk.work(carol)
    desk.send(ev.ActivityReported(alice, True))
    assert desk[alice].state is SessionState.PAUSED, "she waits for what carol has"
    desk.pass_time(1200)
    assert desk[bob].state is SessionState.ACTIVE


def test_a_reservation_whose_device_is_lost_gets_another_one_in_time() -> None:
    desk = Desk()
    reserved(desk, count=1, in_s=3600.0)
    alice = desk.get(user="alice", duration_s=7200.0)
    until = desk[alice].lease_until
    assert desk[alice].lease_cause is None, "there is another one"
    there = inventory(desk.now)
    others = tuple(s for s in there.shares if s.device_uuid == desk[alice].shares[0].device_uuid)
    desk.send(ev.InventoryReported(replace(there, shares=others)))
    assert desk[alice].lease_until == desk.now + 3600.0
    desk.pass_time(60)
    desk.send(ev.InventoryReported(inventory(desk.now)))
    assert desk[alice].lease_until == until, "it is back"
