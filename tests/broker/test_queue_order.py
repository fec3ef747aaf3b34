"""Who is served before whom, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import Desk, order, reason
from swangpu.broker import events as ev
from swangpu.broker.fairness import held_lately
from swangpu.broker.policy import Group, Policy
from swangpu.domain.sessions import Priority, SessionKind, SessionState


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
    desk.get(user="job", kind=SessionKind.JOB, priority=Priority.INTERACTIVE)
    desk.get(user="person")
    assert order(desk) == ["person", "job", "fill"], "a job is a job, whatever it calls itself"
    desk.pass_time(2500)
    desk.get(user="late")
    assert order(desk) == ["fill", "job", "person", "late"], "who has waited long is served as everybody"
