"""What is foreseen of leases and idle sessions for those who wait, in virtual time."""

from __future__ import annotations

import pytest

from broker.desk import ENFORCE, Desk, two_held
from swangpu.broker.estimate import PAUSING_S, frees_at, remember_wait
from swangpu.broker.policy import Policy
from swangpu.domain.rows import replace
from swangpu.domain.sessions import Request


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
