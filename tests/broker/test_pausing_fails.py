"""Putting a session aside and bringing it back when something goes wrong on the way, in virtual time."""

from __future__ import annotations

from broker.desk import ENFORCE, Desk, order, two_held
from broker.fleet import GB
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.domain.sessions import EndReason, PausePhase, Session, SessionState


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
