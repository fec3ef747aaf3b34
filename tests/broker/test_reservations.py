"""Shares set aside for an event or for maintenance, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import Desk, reason
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reservation
from swangpu.broker.reservations import shortfalls
from swangpu.domain.sessions import EndReason, SessionState
from swangpu.errors import Conflict


def tutorial(desk: Desk, in_s: float, for_s: float, count: int = 2, users: tuple[str, ...] = ("eva",)) -> None:
    one = Reservation("r1", "Tutorial", desk.now + in_s, desk.now + in_s + for_s, "local", "t4", count, users)
    desk.send(ev.Configured(Policy(version=2, reservations=(one,))))


def test_what_cannot_be_set_aside_is_said_with_what_there_is() -> None:
    desk = Desk()
    tutorial(desk, in_s=3600.0, for_s=7200.0)
    assert shortfalls(desk.broker.state, desk.now) == []
    tutorial(desk, in_s=3600.0, for_s=7200.0, count=9)
    assert shortfalls(desk.broker.state, desk.now) == ['"Tutorial" is for 9 "t4", and local has 2.']
    start, end = desk.now + 60.0, desk.now + 120.0
    wrong = (
        Reservation("r1", "Typo", start, end, "local", "T4", 1, ()),
        Reservation("r2", "Elsewhere", start, end, "batch", "t4", 1, ()),
    )
    desk.send(ev.Configured(Policy(version=3, reservations=wrong)))
    typo, elsewhere = shortfalls(desk.broker.state, desk.now)
    assert '"Typo" sets nothing aside: there is no "T4" in local (it has' in typo
    assert "t4" in typo
    assert elsewhere == '"Elsewhere" sets nothing aside: there is no pool "batch" (pools: local).'
    assert shortfalls(desk.broker.state, end) == [], "what is over concerns nobody"


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
    assert desk.ended[before] == ("expired", "reserved"), "what took it is in the usage record"
    told = [n for n in desk.notices if n.user == "alice"]
    assert [n.text.split(". ")[0] for n in told] == [
        "T4 goes back in 10 min: it is set aside for Tutorial from then on",
        "T4 goes back in 2 min: it is set aside for Tutorial from then on",
        "T4 goes back",
    ]
    assert [n.actions for n in told] == [("release",), ("release",), ()], "an extension would be refused"
    last = dict(told[-1].params)
    assert (last["cause"], last["event"]) == ("reservation", "Tutorial")
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


def test_who_waits_is_told_for_what_theirs_is_set_aside_also_just_before_that_starts() -> None:
    desk = Desk()
    rows = [
        Reservation("r1", "Tutorial", desk.now, desk.now + 600.0, "local", "a100-40gb/1g.5gb", 1, ("eva",)),
        Reservation("r2", "Driver update", desk.now + 30.0, desk.now + 600.0, "local", "t4", 2),
    ]
    desk.send(ev.Configured(Policy(version=2, reservations=tuple(rows))))
    alice, bob = desk.get(user="alice"), desk.get(user="bob")
    assert reason(desk, alice) == "All of T4 are in use or set aside for Driver update; you are next."
    assert reason(desk, bob) == "2nd of 2 in the queue for T4. Some are set aside for Driver update."


def test_shares_that_nobody_wants_later_are_given_first() -> None:
    desk = Desk()
    tutorial(desk, in_s=3600.0, for_s=600.0, count=1)
    session = desk[desk.get(user="alice", duration_s=7200.0)]
    assert session.lease_cause is None, "there was another one"
    assert desk[desk.get(user="bob", duration_s=7200.0)].lease_cause == "reservation"


def test_a_maintenance_window_ends_leases_keeps_everybody_out_and_is_over() -> None:
    desk = Desk()
    held = desk.get(user="alice", duration_s=7200.0)
    tutorial(desk, in_s=1800.0, for_s=600.0, users=())
    desk.work(held)
    with pytest.raises(Conflict) as raised:
        desk.send(ev.Extended(held, 3600.0))
    assert raised.value.code == "cannot_be_extended"
    desk.pass_time(1800)
    assert desk[held].end_reason is EndReason.EXPIRED
    assert desk[held].reason is not None
    assert desk[held].reason.text == "It is set aside for Tutorial from now on."
    waits = desk.get(user="alice")
    assert reason(desk, waits) == "All of T4 are in use or set aside for Tutorial; you are next."
    desk.pass_time(599)
    assert desk[waits].state is SessionState.QUEUED
    desk.pass_time(2)
    assert desk[waits].state is SessionState.READY
