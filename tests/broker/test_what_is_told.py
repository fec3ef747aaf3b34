"""What is said to somebody who waits: true for what they wait for, and not only for its kind."""

from __future__ import annotations

from broker.desk import Desk
from swangpu.api.explaining import explanation
from swangpu.api.views import Known, flavor_view, offers, session_view
from swangpu.broker import events as ev
from swangpu.broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode
from swangpu.domain.sessions import PausePhase, Request, SessionState
from swangpu.wire import SessionView

ENFORCE = Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)),))


def view(desk: Desk, session_id: str) -> SessionView:
    return session_view(desk.broker.state, desk[session_id], Known(desk.now), for_owner=True)


def waits_for_her_own(desk: Desk) -> tuple[str, str]:
    """Alice was paused for carol, who computes on her GPU; bob's has come free."""
    alice, bob = desk.get(user="alice"), desk.get(user="bob")
    desk.work(alice)
    desk.work(alice, busy=False)
    desk.work(bob)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    desk.work(carol)
    desk.send(ev.ActivityReported(alice, True))
    desk.send(ev.Released(bob, undoable=False))
    assert desk[alice].pause is not None
    assert desk[alice].pause.phase is PausePhase.WANTED
    return alice, carol


def test_a_cell_that_waits_for_its_own_gpu_is_not_told_that_another_is_free() -> None:
    desk = Desk(ENFORCE)
    alice, carol = waits_for_her_own(desk)
    seen = view(desk, alice)
    assert seen.estimate is not None
    assert seen.estimate.basis != "free_now"
    assert seen.estimate.p50_s > 0
    assert seen.reason is not None
    assert seen.reason.code == "waits_for_gpu"
    assert "All of" not in seen.reason.text, "one is free, and of no use to it"
    assert seen.reason.text.startswith("Its own GPU is in use")
    told = explanation(desk.broker.state, desk[alice], Known(desk.now))
    assert told.next_free_at == [desk[carol].lease_until]


def test_places_are_told_of_all_who_wait() -> None:
    desk = Desk(ENFORCE)
    alice, _carol = waits_for_her_own(desk)
    dora = desk.get(user="dora")
    desk.work(dora)
    erik = desk.get(user="erik")
    assert desk[erik].state is SessionState.QUEUED
    for session in (alice, erik):
        seen = view(desk, session)
        assert seen.queue_position is not None
        assert seen.queue_length == 2
        assert 1 <= seen.queue_position <= seen.queue_length
    state = desk.broker.state
    pool = state.pools["local"]
    t4 = next(f for f in pool.flavors if f.name == "t4")
    assert flavor_view(state, pool, t4).queued == 2, "a command that could be extended has to know"


def test_what_is_being_put_aside_comes_free_in_a_moment() -> None:
    desk = Desk(ENFORCE)
    desk.pauses = False
    for user in ("alice", "bob"):
        session = desk.get(user=user)
        desk.work(session)
        desk.work(session, busy=user == "bob")
    desk.pass_time(100)
    seen = view(desk, desk.get(user="carol"))
    assert seen.estimate is not None
    assert seen.estimate.p50_s <= 60
    assert seen.reason is not None
    assert "lease" not in seen.reason.text
    offer = next(o for o in offers(desk.broker.state, Request(flavor="t4"), Known(desk.now)) if o.flavor == "t4")
    assert offer.free == 0


def test_who_would_borrow_is_told_of_those_whose_own_it_is() -> None:
    groups = (
        Group("atlas", members=("ann",), quotas=(Quota("t4", 1.0),)),
        Group("cms", members=("cem",), quotas=(Quota("t4", 1.0),)),
    )
    desk = Desk(Policy(groups=groups))
    for user in ("ann", "dora"):
        desk.get(user=user)
    borrows, own = desk.get(user="ann"), desk.get(user="cem")
    assert view(desk, own).queue_position == 1
    assert view(desk, borrows).queue_position == 2
