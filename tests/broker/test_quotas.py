"""What people and groups may hold, what they borrow, and how it goes back, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk, reason
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Group, Policy, Quota
from swangpu.domain.sessions import Request, SessionKind, SessionState
from swangpu.errors import Conflict


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
    assert desk.ended == {borrowed: ("expired", "called_back")}, "what took it is in the usage record"
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


def test_a_group_borrows_what_nobody_wants_up_to_what_it_may() -> None:
    groups = (
        Group("atlas", members=("ann",), quotas=(Quota("t4", 0.0, 1.0),)),
        Group("cms", members=("cem",), quotas=(Quota("t4", 2.0),)),
    )
    desk = Desk(Policy(groups=groups))
    borrowed, more = desk.get(user="ann"), desk.get(user="ann")
    assert desk[borrowed].state is SessionState.ACTIVE
    assert desk[borrowed].lease_cause is None, "nobody wants it back"
    assert desk[more].state is SessionState.QUEUED, "one T4 is free, and not for who has borrowed all it may"
    assert reason(desk, more) == "Group atlas holds 1 of at most 1 T4: the next comes when one goes back."
