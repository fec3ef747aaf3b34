"""What a person notices of the broker's decisions, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import Desk
from broker.fleet import GB, inventory
from swangpu.broker import events as ev
from swangpu.broker.estimate import estimate_wait
from swangpu.broker.policy import Policy
from swangpu.broker.queue import ahead_of
from swangpu.broker.reasons import waiting_reason
from swangpu.domain.sessions import EndReason, Request, SessionKind, SessionState
from swangpu.errors import Conflict, NotFound


def test_first_come_first_served() -> None:
    desk = Desk()
    held = [desk.get() for _ in range(2)]
    second, third = desk.get(user="bob"), desk.get(user="carol")
    assert len(ahead_of(desk.broker.state, desk[third])) == 1
    assert "2nd" in waiting_reason(desk.broker.state, desk[third]).text
    desk.send(ev.Released(held[0], undoable=False))
    assert desk[second].state is SessionState.READY
    assert desk[third].state is SessionState.QUEUED


def test_slices_do_not_starve_who_waits_for_the_whole_device() -> None:
    desk = Desk()
    # The device that can be had as a whole only goes first, the one that can be shared stays shareable.
    assert desk[desk.get("t4")].shares[0].id == "T2"
    assert desk[desk.get("t4/time-2")].state is SessionState.ACTIVE
    whole = desk.get("t4", user="bob")
    assert desk[whole].state is SessionState.QUEUED
    late = desk.get("t4/time-2", user="carol")
    assert desk[late].state is SessionState.QUEUED, "a later slice delays an earlier whole device"


def test_a_whole_device_excludes_its_slices() -> None:
    desk = Desk()
    first, second = desk.get("t4"), desk.get("t4")
    assert {desk[first].shares[0].id, desk[second].shares[0].id} == {"T1", "T2"}
    assert desk[desk.get("t4/time-2")].state is SessionState.QUEUED


def test_memory_gets_the_smallest_share_that_suffices() -> None:
    desk = Desk()
    assert desk[desk.get(None, memory_bytes=4 * GB)].flavor == "a100-40gb/1g.5gb"
    assert desk[desk.get(None, memory_bytes=6 * GB)].flavor == "t4/time-2"


def test_release_can_be_undone_while_nobody_waits() -> None:
    desk = Desk()
    session = desk.get()
    desk.send(ev.Released(session))
    assert desk[session].undo_until == desk.now + 10.0
    desk.now += 5
    desk.send(ev.ActivityReported(session, True))
    desk.send(ev.Undone(session))
    assert desk[session].busy, "its cell has begun while its release could be undone"
    assert desk[session].state is SessionState.ACTIVE
    desk.send(ev.Released(session))
    desk.pass_time(11)
    assert desk[session].state is SessionState.ENDED
    with pytest.raises(Conflict) as raised:
        desk.send(ev.Undone(session))
    assert raised.value.code == "too_late_to_undo"


def test_who_waits_does_not_wait_for_somebody_elses_undo() -> None:
    desk = Desk()
    held = [desk.get() for _ in range(2)]
    desk.send(ev.Released(held[0]))
    assert desk[held[0]].state is SessionState.ENDING
    bob = desk.get(user="bob")
    assert desk[held[0]].state is SessionState.ENDED
    assert desk[bob].state is not SessionState.QUEUED


def test_an_undone_queued_request_keeps_its_place() -> None:
    desk = Desk()
    for _ in range(2):
        desk.get()
    first, second = desk.get(user="bob"), desk.get(user="carol")
    desk.send(ev.Released(first))
    desk.send(ev.Undone(first))
    assert ahead_of(desk.broker.state, desk[first]) == []
    assert [s.id for s in ahead_of(desk.broker.state, desk[second])] == [first]


def test_unclaimed_shares_go_to_the_next() -> None:
    desk = Desk()
    held = [desk.get() for _ in range(2)]
    bob, carol = desk.get(user="bob", claim=False), desk.get(user="carol", claim=False)
    desk.pass_time(5)
    desk.send(ev.Released(held[0], undoable=False))
    assert desk[bob].state is SessionState.READY
    desk.pass_time(599)
    assert desk[bob].state is SessionState.READY
    desk.pass_time(2)
    assert desk[bob].end_reason is EndReason.UNCLAIMED
    assert desk[carol].state is SessionState.READY
    assert [n.code for n in desk.notices if n.user == "bob"] == ["ready", "unclaimed"]
    assert "unclaimed" in desk.demand
    assert desk.notices[-2].text == "T4: It was not started in time and went to the next in the queue."


def test_unclaimed_shares_for_which_nobody_waits_go_to_nobody() -> None:
    desk = Desk()
    session = desk.get(on_ready="notify", claim=False)
    desk.pass_time(601)
    assert desk[session].end_reason is EndReason.UNCLAIMED
    assert [n.text for n in desk.notices] == ["T4: It was not started in time and went back."]


def test_a_lease_warns_twice_and_ends() -> None:
    desk = Desk()
    session = desk.get(duration_s=3600.0)
    desk.pass_time(3600 - 601)
    assert desk.notices == []
    desk.pass_time(2)
    assert [n.code for n in desk.notices] == ["lease_ends"]
    assert "10 min" in desk.notices[0].text
    assert desk.notices[0].actions == ("extend", "release")
    desk.pass_time(480)
    assert len(desk.notices) == 2
    assert "2 min" in desk.notices[1].text
    desk.pass_time(120)
    assert desk[session].end_reason is EndReason.EXPIRED
    assert desk[session].shares == ()
    assert [(n.code, n.text) for n in desk.notices[2:]] == [("lease_ended", "T4 goes back. Its lease has ended.")]


def test_a_lease_at_its_maximum_is_not_offered_to_be_extended() -> None:
    desk = Desk(Policy(max_lease_s=3600.0, warn_s=(60.0,)))
    desk.get(duration_s=3600.0)
    desk.pass_time(3541)
    assert [(n.text.split(". ")[0], n.actions) for n in desk.notices] == [("T4 goes back in 60 s", ("release",))]


def test_extending_starts_the_warnings_again_and_stops_at_the_maximum() -> None:
    desk = Desk(Policy(max_lease_s=7200.0))
    session = desk.get(duration_s=3600.0)
    desk.pass_time(3100)
    desk.send(ev.Extended(session, 1800.0))
    assert desk[session].lease_until == 1000.0 + 5400.0
    desk.send(ev.Extended(session, 36000.0))
    assert desk[session].lease_until == 1000.0 + 7200.0
    with pytest.raises(Conflict) as raised:
        desk.send(ev.Extended(session, 60.0))
    assert raised.value.code == "lease_at_maximum"
    before = len(desk.notices)
    desk.pass_time(3600)
    assert len(desk.notices) > before


def test_a_busy_session_goes_on_past_its_lease_while_nobody_waits() -> None:
    desk = Desk(Policy(max_lease_s=7200.0))
    session = desk.get(duration_s=3600.0)
    desk.send(ev.KernelAttached(session, "k"))
    desk.send(ev.ActivityReported(session, True))
    desk.pass_time(3700)
    assert desk[session].state is SessionState.ACTIVE
    desk.get(duration_s=7200.0)
    desk.get(user="bob")
    desk.pass_time(301)
    assert desk[session].end_reason is EndReason.EXPIRED, "somebody waits now"


def test_a_busy_session_ends_at_its_maximum() -> None:
    desk = Desk(Policy(max_lease_s=7200.0))
    session = desk.get(duration_s=3600.0)
    desk.send(ev.KernelAttached(session, "k"))
    desk.send(ev.ActivityReported(session, True))
    desk.pass_time(7199)
    assert desk[session].state is SessionState.ACTIVE
    desk.pass_time(2)
    assert desk[session].end_reason is EndReason.EXPIRED


def test_a_session_without_its_kernel_goes_back_after_a_linger() -> None:
    desk = Desk()
    session = desk.get()
    desk.send(ev.KernelAttached(session, "k"))
    desk.send(ev.KernelGone(session, "k"))
    desk.pass_time(50)
    assert desk[session].state is SessionState.ACTIVE, "a restart by hand takes a moment"
    desk.send(ev.KernelAttached(session, "k"))
    desk.pass_time(120)
    assert desk[session].state is SessionState.ACTIVE
    desk.send(ev.KernelGone(session, "k"))
    desk.pass_time(61)
    assert desk[session].end_reason is EndReason.RELEASED


def test_a_device_that_comes_back_in_time_costs_nothing() -> None:
    desk = Desk()
    session = desk.get("a100-40gb/1g.5gb")
    share = desk[session].shares[0].id
    desk.send(ev.InventoryReported(inventory(2.0, lost=(share,))))
    assert [n.code for n in desk.notices] == ["device_away"]
    desk.pass_time(100)
    desk.send(ev.InventoryReported(inventory(3.0)))
    assert [n.code for n in desk.notices] == ["device_away", "device_back"]
    desk.send(ev.InventoryReported(inventory(4.0, lost=(share,))))
    desk.pass_time(121)
    assert desk[session].end_reason is EndReason.LOST


def test_what_others_use_is_not_given() -> None:
    desk = Desk()
    desk.send(ev.InventoryReported(inventory(2.0, taken=("T1", "T1/time-0of2", "T1/time-1of2"))))
    assert desk[desk.get()].shares[0].id == "T2"
    assert desk[desk.get()].state is SessionState.QUEUED


def test_estimates_say_what_they_go_by() -> None:
    desk = Desk()
    request = Request(flavor="t4", duration_s=3600.0)
    free = estimate_wait(desk.broker.state, request, 0, desk.now)
    assert free is not None
    assert (free.p50_s, free.basis) == (0.0, "free_now")
    desk.get(duration_s=3600.0)
    desk.get(duration_s=7200.0)
    first = estimate_wait(desk.broker.state, request, 0, desk.now)
    assert first is not None
    assert (first.p90_s, first.basis) == (3600.0, "lease_ends")
    assert estimate_wait(desk.broker.state, request, 5, desk.now) is None


def test_settling_for_less_is_recorded() -> None:
    desk = Desk()
    desk.send(ev.Looked("alice", "kernel", None, 16 * GB, 1, 3600.0))
    desk.get(None, memory_bytes=4 * GB)
    assert desk.demand == ["looked", "settled", "granted"]


def test_usage_counts_what_was_held_and_what_was_busy() -> None:
    desk = Desk()
    session = desk.get()
    desk.send(ev.KernelAttached(session, "k"))
    desk.pass_time(100)
    desk.send(ev.ActivityReported(session, True))
    desk.pass_time(50)
    commands = desk.send(ev.Released(session, undoable=False))
    del commands
    assert desk[session].busy_s == 50.0


def test_what_does_not_exist_is_not_found() -> None:
    desk = Desk()
    for event in (ev.Claimed("x"), ev.Released("x"), ev.Extended("x", 60.0), ev.Undone("x"), ev.Paused("x")):
        with pytest.raises(NotFound):
            desk.send(event)


def test_a_job_whose_attach_failed_leaves_no_deadline_in_the_past() -> None:
    desk = Desk()
    session = desk.get(kind=SessionKind.JOB, duration_s=3600.0)
    desk.send(ev.AttachFailed(session, "late", "A late failure."))
    desk.pass_time(300)
    deadline = desk.broker.next_deadline()
    assert deadline is not None
    assert deadline > desk.now, "the shell would wake up for it again and again"
    assert desk[session].state is SessionState.ACTIVE
