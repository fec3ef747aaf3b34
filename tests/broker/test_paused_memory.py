"""What paused sessions have in host memory, all together, in virtual time."""

from __future__ import annotations

from broker.desk import ENFORCE, Desk, two_held
from broker.fleet import GB
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy
from swangpu.broker.state import BrokerState
from swangpu.domain.sessions import ComesBack, SessionState
from swangpu.ledger.codec import decode, encode


def desk_with(budget_bytes: int | None) -> Desk:
    return Desk(Policy(reclaim=ENFORCE.reclaim, paused_memory_bytes=budget_bytes))


def two_wanted(desk: Desk) -> tuple[str, str]:
    """Two idle sessions, on each a T4 of 16 GB, and two people who wait for them."""
    held = two_held(desk)
    desk.pass_time(100)
    desk.get(user="carol")
    desk.get(user="dave")
    return held


def paused(desk: Desk) -> list[str]:
    return [s.user for s in desk.broker.state.live() if s.state is SessionState.PAUSED]


def test_without_a_limit_nothing_is_refused() -> None:
    desk = desk_with(None)
    two_wanted(desk)
    assert list(desk.rooms.values()) == [None, None]
    assert paused(desk) == ["alice", "bob"]


def test_who_is_paused_takes_from_what_is_left_for_the_next() -> None:
    desk = desk_with(5 * GB)
    alice, bob = two_wanted(desk)
    assert desk.rooms == {alice: 5 * GB, bob: 3 * GB}
    assert paused(desk) == ["alice", "bob"]


def test_one_for_whom_there_is_no_room_keeps_its_gpu_and_somebody_else_gives_way() -> None:
    desk = desk_with(3 * GB)
    desk.saves_bytes = 4 * GB
    two_held(desk)
    desk.pass_time(100)
    desk.pauses = False
    desk.get(user="carol")
    (alice,) = desk.rooms
    desk.send(ev.PauseFailed(alice, "no_room", "It needs 4 GB of host memory, and 3 GB are left for paused sessions."))
    assert desk[alice].state is SessionState.ACTIVE
    assert desk[alice].shares
    said = desk[alice].reason
    assert said is not None
    assert said.code == "no_room"
    assert said.text.endswith("It needs 4 GB of host memory, and 3 GB are left for paused sessions.")
    assert paused(desk) == ["bob"]
    assert desk.notices == [], "nothing is asked of anybody"
    desk.work(alice)
    assert desk[alice].reason is None, "who computes need not know"


def test_it_is_not_asked_again_before_a_while() -> None:
    desk = desk_with(1 * GB)
    alice, bob = two_wanted(desk)
    assert paused(desk) == []
    desk.rooms.clear()
    desk.pass_time(200)
    assert desk.rooms == {}
    desk.saves_bytes = 1 * GB
    desk.pass_time(200)
    assert set(desk.rooms) == {alice, bob}, "what it has may be less by then"
    assert len(paused(desk)) == 1


def test_two_at_the_same_moment_do_not_take_the_same_room() -> None:
    desk = desk_with(20 * GB)
    desk.pauses = False
    alice, bob = two_wanted(desk)
    assert desk.rooms == {alice: 16 * GB}, "it may take all that is on its GPU: bob waits for what will be left"
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    assert desk.rooms[bob] == 16 * GB


def test_two_at_the_same_moment_where_there_is_room_for_both() -> None:
    desk = desk_with(40 * GB)
    desk.pauses = False
    alice, bob = two_wanted(desk)
    assert desk.rooms == {alice: 16 * GB, bob: 16 * GB}


def test_who_pauses_their_own_does_not_wait_and_takes_what_is_left() -> None:
    desk = desk_with(20 * GB)
    desk.pauses = False
    alice, bob = two_held(desk)
    for session in (alice, bob):
        desk.send(ev.Paused(session))
    assert desk.rooms == {alice: 16 * GB, bob: 4 * GB}
    text = "It needs 9 GB of host memory, and 4 GB are left for paused sessions."
    desk.send(ev.PauseSaved(bob, "gate", frees=False, code="no_room", text=text))
    assert desk[bob].shares
    said = desk[bob].reason
    assert said is not None
    assert (said.code, dict(said.params)) == ("paused_held", {"why": "no_room"})
    assert said.text == f"Paused; its GPU is kept for it. {text}"


def test_what_is_on_a_disk_takes_no_host_memory() -> None:
    desk = desk_with(20 * GB)
    desk.pauses = False
    alice, bob = two_held(desk)
    desk.send(ev.Paused(alice))
    desk.send(ev.PauseSaved(alice, "carry", 15 * GB, comes_back=ComesBack.ANYWHERE))
    desk.send(ev.Paused(bob))
    assert desk.rooms[bob] == 16 * GB


def test_one_that_can_not_be_carried_keeps_its_gpu_and_says_what_is_in_the_way() -> None:
    desk = desk_with(None)
    desk.pauses = False
    alice, _bob = two_wanted(desk)
    text = "These would not come back as they are: log (an open file can't be saved)."
    desk.send(ev.PauseFailed(alice, "not_carried", text))
    said = desk[alice].reason
    assert said is not None
    assert (said.code, desk[alice].state) == ("not_carried", SessionState.ACTIVE)
    assert said.text.endswith(text)


def test_it_counts_until_it_is_back_and_after_a_restart() -> None:
    desk = desk_with(5 * GB)
    desk.saves_bytes = 4 * GB
    alice, bob = two_held(desk)
    desk.send(ev.Paused(alice))
    desk.broker.state = decode(encode(desk.broker.state), {"BrokerState": BrokerState})
    desk.send(ev.Recovered())
    desk.send(ev.Paused(bob))
    assert desk.rooms[bob] == 1 * GB
    assert desk[bob].state is SessionState.ACTIVE
    desk.pauses = False
    desk.send(ev.Resumed(alice))
    desk.send(ev.Paused(bob))
    assert desk.rooms[bob] == 1 * GB, "a copy is kept until all is back"
    desk.send(ev.PauseFailed(bob, "no_room", "There is no room for it."))
    desk.send(ev.ResumeDone(alice))
    desk.send(ev.Paused(bob))
    assert desk.rooms[bob] == 5 * GB


def test_what_is_asked_again_after_a_restart_has_the_room_that_was_set_aside() -> None:
    desk = desk_with(5 * GB)
    desk.pauses = False
    alice, bob = two_held(desk)
    desk.send(ev.Paused(alice))
    desk.rooms.clear()
    desk.send(ev.Recovered())
    assert desk.rooms == {alice: 5 * GB}
    desk.send(ev.Paused(bob))
    assert desk.rooms[bob] == 0
