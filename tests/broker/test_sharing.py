"""Who is served before whom, and what is taken from whom, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import Desk
from broker.fleet import GB
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.estimate import PAUSING_S, frees_at, remember_wait
from swangpu.broker.fairness import held_lately, in_order
from swangpu.broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode, Reservation
from swangpu.broker.reasons import waiting_reason
from swangpu.domain.rows import replace
from swangpu.domain.sessions import EndReason, PausePhase, Priority, Request, Session, SessionKind, SessionState
from swangpu.errors import Conflict

ENFORCE = Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)),))


def order(desk: Desk) -> list[str]:
    return [s.user for s in in_order(desk.broker.state, desk.now)]


def reason(desk: Desk, session_id: str) -> str:
    return waiting_reason(desk.broker.state, desk[session_id]).text


# -- the order of the queue ------------------------------------------------------------------------


def test_who_has_held_less_lately_goes_first() -> None:
    desk = Desk()
    first, second = desk.get(user="alice"), desk.get(user="alice")
    desk.pass_time(3600)
    desk.get(user="alice")
    desk.get(user="bob")
    assert order(desk) == ["bob", "alice"]
    desk.send(ev.Released(first, undoable=False))
    assert order(desk) == ["alice"]
    assert "held less than you" not in reason(desk, next(iter(desk.broker.state.index.waiting)))
    assert desk[second].state is SessionState.ACTIVE


def test_what_was_held_long_ago_counts_less() -> None:
    desk = Desk(Policy(half_life_s=3600.0))
    session = desk.get(user="alice", duration_s=3600.0)
    desk.pass_time(3600)
    assert desk[session].state is SessionState.ENDED
    # an hour of one device, half of it faded on the way: the integral in fairness.py
    held = held_lately(desk.broker.state, "u:alice", desk.now)
    assert held == pytest.approx(3600 / 0.693147 * 0.5, rel=1e-3)
    assert held_lately(desk.broker.state, "u:alice", desk.now + 3600) == pytest.approx(held / 2)


def test_many_requests_of_one_person_come_between_those_of_others() -> None:
    desk = Desk()
    for _ in range(2):
        desk.get(user="dora")
    for _ in range(3):
        desk.get(user="alice")
    desk.get(user="bob")
    desk.get(user="carol")
    assert order(desk) == ["alice", "bob", "carol", "alice", "alice"]


def test_groups_take_turns_by_their_weights() -> None:
    groups = (Group("atlas", 2.0, ("a1", "a2", "a3", "a4")), Group("cms", 1.0, ("c1", "c2", "c3")))
    desk = Desk(Policy(groups=groups))
    for _ in range(2):
        desk.get(user="dora")
    for user in ("a1", "a2", "a3", "a4", "c1", "c2", "c3"):
        desk.get(user=user)
    first_six = [user[0] for user in order(desk)[:6]]
    assert first_six.count("a") == 4
    assert first_six.count("c") == 2


def test_people_go_before_jobs_and_jobs_before_backfill_until_they_have_waited_long() -> None:
    desk = Desk(Policy(promote_s=1000.0))
    for _ in range(2):
        desk.get(user="dora", duration_s=40000.0)
    desk.get(user="fill", kind=SessionKind.JOB, priority=Priority.BACKFILL)
    desk.get(user="job", kind=SessionKind.JOB)
    desk.get(user="person")
    assert order(desk) == ["person", "job", "fill"]
    desk.pass_time(2500)
    desk.get(user="late")
    assert order(desk) == ["fill", "job", "person", "late"], "who has waited long is served as everybody"


# -- quotas ----------------------------------------------------------------------------------------


def test_a_quota_of_a_person_is_kept_and_said() -> None:
    desk = Desk(Policy(user_quotas=(Quota("t4", 1.0, 0.0),)))
    first, second = desk.get(), desk.get()
    assert desk[second].state is SessionState.QUEUED
    assert reason(desk, second) == "You hold 1 of at most 1 T4: the next comes when one goes back."
    assert desk[desk.get(user="bob")].state is SessionState.ACTIVE, "it holds up nobody else"
    desk.send(ev.Released(first, undoable=False))
    assert desk[second].state is SessionState.READY


def test_more_than_the_quota_will_ever_allow_is_refused() -> None:
    desk = Desk(Policy(user_quotas=(Quota("t4", 1.0, 0.0),)))
    said = desk.send(ev.Requested("x", "alice", Request(kind=SessionKind.JOB, flavor="t4", count=2)))
    rejected = next(c for c in said if isinstance(c, cmd.Reject))
    assert rejected.code == "more_than_the_quota"


def test_what_is_borrowed_goes_back_when_it_is_wanted() -> None:
    groups = (
        Group("atlas", members=("ann", "abe"), quotas=(Quota("t4", 1.0),)),
        Group("cms", members=("cem",), quotas=(Quota("t4", 1.0),)),
    )
    desk = Desk(Policy(groups=groups, quota_notice_s=900.0, reclaim=ENFORCE.reclaim))
    own, borrowed = desk.get(user="ann"), desk.get(user="abe")
    desk.work(own)
    desk.work(borrowed)
    desk.pass_time(1000)
    cms = desk.get(user="cem")
    assert desk[cms].state is SessionState.QUEUED, "who computes is not thrown out"
    assert [n.code for n in desk.notices if n.user == "abe"] == ["called_back"]
    assert desk[borrowed].lease_until == desk.now + 900.0
    assert desk[own].lease_cause is None
    with pytest.raises(Conflict) as raised:
        desk.send(ev.Extended(borrowed, 3600.0))
    assert raised.value.code == "cannot_be_extended"
    desk.pass_time(901)
    assert desk[borrowed].state is SessionState.ENDED
    assert desk[borrowed].reason is not None
    assert desk[borrowed].reason.code == "called_back"
    assert desk[cms].state is SessionState.READY


def test_an_idle_borrower_gives_way_at_once() -> None:
    groups = (
        Group("atlas", members=("ann", "abe"), quotas=(Quota("t4", 1.0),)),
        Group("cms", members=("cem",), quotas=(Quota("t4", 1.0),)),
    )
    desk = Desk(Policy(groups=groups, reclaim=ENFORCE.reclaim))
    own, borrowed = desk.get(user="ann"), desk.get(user="abe")
    desk.work(own, busy=False)
    desk.work(borrowed, busy=False)
    desk.pass_time(5)
    cms = desk.get(user="cem")
    assert desk[cms].state is SessionState.ACTIVE
    assert desk[borrowed].state is SessionState.PAUSED
    assert desk[own].state is SessionState.ACTIVE


def test_nobody_borrows_before_those_whose_own_it_is() -> None:
    groups = (
        Group("atlas", members=("ann",), quotas=(Quota("t4", 1.0),)),
        Group("cms", members=("cem",), quotas=(Quota("t4", 1.0),)),
    )
    desk = Desk(Policy(groups=groups))
    held = [desk.get(user="ann"), desk.get(user="dora")]
    again = desk.get(user="ann")
    cms = desk.get(user="cem")
    desk.send(ev.Released(held[1], undoable=False))
    assert desk[cms].state is SessionState.READY
    assert desk[again].state is SessionState.QUEUED


# -- reservations ----------------------------------------------------------------------------------


def tutorial(desk: Desk, in_s: float, for_s: float, count: int = 2, users: tuple[str, ...] = ("eva",)) -> None:
    one = Reservation("r1", "Tutorial", desk.now + in_s, desk.now + in_s + for_s, "local", "t4", count, users)
    desk.send(ev.Configured(Policy(version=2, reservations=(one,))))


def test_a_lease_ends_when_a_reservation_starts_and_says_so() -> None:
    desk = Desk()
    before = desk.get(user="alice", duration_s=7200.0)
    tutorial(desk, in_s=3600.0, for_s=7200.0)
    after = desk.get(user="bob", duration_s=7200.0)
    for session in (before, after):
        assert desk[session].lease_until == desk.now + 3600.0
        assert desk[session].lease_cause == "reservation"
    desk.work(before)
    desk.pass_time(3600)
    assert desk[before].end_reason is EndReason.EXPIRED, "also of who computes"
    assert [n.code for n in desk.notices if n.user == "alice"] == ["lease_ends", "lease_ends", "lease_ended"]
    waits = desk.get(user="alice")
    assert desk[waits].state is SessionState.QUEUED
    assert "Tutorial" in reason(desk, waits)
    assert desk[desk.get(user="eva")].state is SessionState.ACTIVE
    desk.pass_time(7200)
    assert desk[waits].state is SessionState.READY, "when it is over, who waits is served"


def test_maintenance_is_a_reservation_for_nobody() -> None:
    desk = Desk()
    tutorial(desk, in_s=0.0, for_s=600.0, count=1, users=())
    assert desk[desk.get(user="alice")].state is SessionState.ACTIVE, "only so many are set aside"
    bob = desk.get(user="bob")
    assert desk[bob].state is SessionState.QUEUED
    desk.pass_time(601)
    assert desk[bob].state is SessionState.READY


def test_shares_that_nobody_wants_later_are_given_first() -> None:
    desk = Desk()
    tutorial(desk, in_s=3600.0, for_s=600.0, count=1)
    session = desk[desk.get(user="alice", duration_s=7200.0)]
    assert session.lease_cause is None, "there was another one"
    assert desk[desk.get(user="bob", duration_s=7200.0)].lease_cause == "reservation"


# -- idle, warn, pause, release --------------------------------------------------------------------


def two_held(desk: Desk, methods: tuple[str, ...] = ("offload",)) -> tuple[str, str]:
    held = desk.get(user="alice"), desk.get(user="bob")
    for session in held:
        desk.work(session, methods=methods)
        desk.work(session, busy=False, methods=methods)
    return held


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
    desk.same_device = False
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
    desk.same_device = False
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
    assert "somebody waited" in (desk[bob].reason.text if desk[bob].reason else "")
    assert desk[carol].state is SessionState.READY


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


def test_a_warning_is_forgotten_when_a_cell_runs_or_nobody_waits_any_more() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk, methods=())
    desk.pass_time(1850)
    carol = desk.get(user="carol")
    desk.pass_time(10)
    assert desk[alice].idle_ends_at is not None
    desk.work(alice, methods=())
    assert desk[alice].idle_ends_at is None
    desk.pass_time(20)
    assert desk[bob].idle_ends_at is not None
    desk.send(ev.Released(carol, undoable=False))
    desk.pass_time(400)
    assert desk[bob].state is SessionState.ACTIVE
    assert desk[bob].idle_ends_at is None


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


# -- when pausing fails ----------------------------------------------------------------------------


def saving(desk: Desk) -> tuple[str, Session]:
    """A session that is being put aside for carol."""
    desk.pauses = False
    alice, _bob = two_held(desk)
    desk.pass_time(100)
    desk.get(user="carol")
    assert desk[alice].pause is not None
    assert desk[alice].pause.phase is PausePhase.SAVING
    return alice, desk[alice]


def test_a_pause_that_fails_leaves_all_as_it_was_and_another_gives_way() -> None:
    desk = Desk(ENFORCE)
    alice, before = saving(desk)
    desk.send(ev.PauseFailed(alice, "kernel_busy", "A cell runs."))
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].shares == before.shares
    paused = [s.user for s in desk.broker.state.live() if s.state is SessionState.PAUSED]
    assert paused == ["bob"], "the next idle one is asked, and not the same again"
    desk.pass_time(301)
    assert desk[alice].state is SessionState.ACTIVE


def test_a_kernel_that_does_not_survive_is_told_and_its_share_goes_on() -> None:
    desk = Desk(ENFORCE)
    alice, _ = saving(desk)
    desk.send(ev.PauseFailed(alice, "checkpoint_lost", "Its state on the GPU could not be saved.", lost=True))
    assert desk[alice].end_reason is EndReason.LOST
    assert ("alice", "checkpoint_lost") in [(n.user, n.code) for n in desk.notices]
    carol = next(s for s in desk.broker.state.sessions.values() if s.user == "carol")
    assert carol.state is SessionState.READY


def test_a_kernel_that_goes_on_after_it_was_touched_is_told_of() -> None:
    desk = Desk(ENFORCE)
    alice, before = saving(desk)
    desk.send(ev.PauseFailed(alice, "checkpoint_failed", "It could not be saved.", doubtful=True))
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].shares == before.shares
    (told,) = [n for n in desk.notices if n.code == "not_paused"]
    assert told.user == "alice"
    assert told.text.endswith("could not be paused: It could not be saved.")


def test_a_cell_that_is_interrupted_before_it_is_tried_again_is_not_brought_back() -> None:
    desk = Desk(ENFORCE)
    alice, _bob = two_held(desk)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    desk.send(ev.Released(carol, undoable=False))
    desk.pauses = False
    desk.send(ev.ActivityReported(alice, True))
    desk.send(ev.ResumeFailed(alice, "not_restored", "It does not fit."))
    desk.send(ev.ActivityReported(alice, False))
    desk.pass_time(100)
    assert desk[alice].state is SessionState.PAUSED
    assert desk[alice].shares == ()


def test_a_cell_that_comes_while_it_is_put_aside_is_not_forgotten() -> None:
    desk = Desk(ENFORCE)
    alice, _ = saving(desk)
    desk.send(ev.ActivityReported(alice, True))
    desk.send(ev.PauseSaved(alice, "offload", GB))
    # a cell that waits goes before somebody who has only just come
    assert desk[alice].pause is not None
    assert desk[alice].pause.phase is PausePhase.RESTORING
    desk.send(ev.ResumeDone(alice, busy=True))
    assert desk[alice].busy


def test_a_cell_that_is_interrupted_while_it_waits_gives_up_its_place() -> None:
    desk = Desk(ENFORCE)
    alice, bob = two_held(desk)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    desk.work(carol)
    desk.work(bob)
    desk.send(ev.ActivityReported(alice, True))
    assert order(desk) == ["alice"]
    desk.send(ev.ActivityReported(alice, False))
    assert order(desk) == []
    assert desk[alice].state is SessionState.PAUSED
    desk.work(carol, busy=False)
    desk.pass_time(600)
    assert desk[carol].state is SessionState.ACTIVE, "nobody waits"


def test_bringing_back_is_tried_again_and_then_given_up() -> None:
    desk = Desk(ENFORCE)
    alice, _bob = two_held(desk)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    desk.send(ev.Released(carol, undoable=False))
    desk.pauses = False
    desk.send(ev.ActivityReported(alice, True))
    for wait_s in (2, 30, 0):
        assert desk[alice].pause is not None
        assert desk[alice].pause.phase is PausePhase.RESTORING
        desk.send(ev.ResumeFailed(alice, "not_restored", "It does not fit."))
        assert desk[alice].shares == (), "others can have it meanwhile"
        desk.pass_time(wait_s)
    assert desk[alice].end_reason is EndReason.FAILED
    assert ("alice", "not_restored") in [(n.user, n.code) for n in desk.notices]


def test_what_is_not_answered_is_said_again() -> None:
    desk = Desk(ENFORCE)
    alice, _ = saving(desk)
    said: list[cmd.Command] = []
    handle = desk.broker.handle

    def watch(event: ev.Event, now: float) -> list[cmd.Command]:
        out = handle(event, now)
        said.extend(out)
        return out

    desk.broker.handle = watch  # type: ignore[method-assign]
    desk.pass_time(121)
    assert [c.session_id for c in said if isinstance(c, cmd.PauseWork)] == [alice]


def test_a_cell_that_was_why_it_could_not_be_put_aside_counts_as_running() -> None:
    desk = Desk(ENFORCE)
    alice, _ = saving(desk)
    desk.send(ev.ActivityReported(alice, True))
    desk.send(ev.PauseFailed(alice, "kernel_busy", "A cell runs."))
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].busy
    desk.pass_time(600)
    assert desk[alice].state is SessionState.ACTIVE, "and is not asked again while it does"


def test_one_whose_cell_began_as_it_was_to_be_put_aside_gives_way_when_the_cell_has_ended() -> None:
    desk = Desk(ENFORCE)
    alice, _ = saving(desk)
    desk.work(next(s.id for s in desk.broker.state.live() if s.user == "bob"))
    desk.send(ev.PauseFailed(alice, "kernel_busy", "A cell runs."))
    desk.send(ev.ActivityReported(alice, True))
    desk.pass_time(10)
    desk.send(ev.ActivityReported(alice, False))
    desk.pass_time(59)
    assert desk[alice].state is SessionState.ACTIVE
    desk.pauses = True
    desk.pass_time(2)
    assert desk[alice].state is SessionState.PAUSED, "without a penalty for having computed"


def test_a_session_on_a_slice_comes_back_to_that_very_slice() -> None:
    desk = Desk(ENFORCE)
    slices = [desk.get("a100-40gb/1g.5gb", user=f"u{n}") for n in range(3)]
    for one in slices:
        desk.work(one)
        desk.work(one, busy=False)
    desk.pass_time(61)
    first = desk[slices[0]].shares
    newcomer = desk.get("a100-40gb/1g.5gb", user="carol")
    desk.work(newcomer)
    assert desk[slices[0]].state is SessionState.PAUSED
    desk.send(ev.Released(slices[1], undoable=False))
    desk.send(ev.ActivityReported(slices[0], True))
    pause = desk[slices[0]].pause
    assert pause is not None
    assert pause.phase is PausePhase.WANTED, "another slice of the same GPU is free, but no use to it"
    desk.send(ev.Released(newcomer, undoable=False))
    assert desk[slices[0]].state is SessionState.ACTIVE
    assert desk[slices[0]].shares == first


# -- what is foreseen ------------------------------------------------------------------------------


def test_a_running_cell_is_reckoned_to_run_for_as_long_again_and_only_where_sessions_give_way() -> None:
    for policy, soon in ((ENFORCE, True), (Policy(), False)):
        desk = Desk(policy)
        for user in ("alice", "bob"):
            desk.work(desk.get(user=user))
        desk.pass_time(300)
        state, request = desk.broker.state, Request(flavor="t4")
        in_s = [at - desk.now for at in frees_at(state, request, desk.now, expecting=True)]
        assert all(300 <= s <= 400 for s in in_s) is soon
        told = [at - desk.now for at in frees_at(state, request, desk.now)]
        assert all(s > 3600 for s in told), "a lease is said to end when it ends"


def test_what_cannot_be_paused_is_foreseen_to_go_after_its_warning() -> None:
    desk = Desk(ENFORCE)
    two_held(desk, methods=())
    desk.pass_time(600)
    in_s = [at - desk.now for at in frees_at(desk.broker.state, Request(flavor="t4"), desk.now, expecting=True)]
    assert in_s == pytest.approx([1800 - 600 + 300 + PAUSING_S] * 2)


def test_only_who_really_waited_teaches_the_estimates() -> None:
    desk = Desk()
    row = replace(desk[desk.get()], foreseen_s=100.0, created_at=desk.now)
    state = desk.broker.state
    remember_wait(state, row, desk.now)
    assert state.wait_ratios == ()
    remember_wait(state, row, desk.now + 50.0)
    assert state.wait_ratios == (0.5,)
