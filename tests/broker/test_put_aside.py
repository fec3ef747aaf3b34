"""What a pause must not cost: a session, a share that is still in use, or the GPU of those who wait."""

from __future__ import annotations

from broker.desk import Desk
from broker.fleet import GB, inventory
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.domain.sessions import ComesBack, EndReason, PausePhase, SessionState

ENFORCE = Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)),))


def two_idle(desk: Desk, methods: tuple[str, ...] = ("offload",)) -> tuple[str, str]:
    held = desk.get(user="alice"), desk.get(user="bob")
    for session in held:
        desk.work(session, methods=methods)
        desk.work(session, busy=False, methods=methods)
    return held


def phase(desk: Desk, session_id: str) -> PausePhase | None:
    pause = desk[session_id].pause
    return pause.phase if pause is not None else None


def lose(desk: Desk, *uuids: str) -> None:
    """The backend says what it has: these devices do not answer."""
    shares = [s.id for s in inventory().shares if s.device_uuid in uuids]
    desk.send(ev.InventoryReported(inventory(desk.now, lost=tuple(shares))))


def test_a_device_that_went_away_while_a_session_was_put_aside_does_not_end_it() -> None:
    desk = Desk(ENFORCE)
    desk.pauses = False
    alice, _bob = two_idle(desk)
    desk.pass_time(100)
    desk.get(user="carol")
    assert phase(desk, alice) is PausePhase.SAVING
    lose(desk, desk[alice].shares[0].device_uuid)
    desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
    lose(desk)
    desk.pass_time(300)
    assert desk[alice].state is SessionState.PAUSED, "what it had is safe, and its device is back"


def test_a_session_that_failed_to_come_back_to_a_lost_device_is_not_lost_on_another() -> None:
    desk = Desk(ENFORCE)
    desk.comes_back = ComesBack.ANYWHERE
    alice, bob = two_idle(desk)
    desk.send(ev.Paused(alice))
    desk.pauses = False
    desk.send(ev.Resumed(alice))
    first = desk[alice].shares[0].device_uuid
    desk.send(ev.Released(bob, undoable=False))
    lose(desk, first)
    desk.send(ev.ResumeFailed(alice, "not_restored", "The device does not answer."))
    desk.pass_time(2)
    assert desk[alice].shares[0].device_uuid != first
    desk.send(ev.ResumeDone(alice, busy=True))
    desk.pass_time(300)
    assert desk[alice].state is SessionState.ACTIVE


def test_what_was_kept_on_its_gpu_keeps_it_when_it_cannot_be_brought_back() -> None:
    desk = Desk(ENFORCE)
    alice, _bob = two_idle(desk, methods=())
    desk.pauses = False
    desk.send(ev.Paused(alice))
    desk.send(ev.PauseSaved(alice, "gate", frees=False))
    carol = desk.get(user="carol")
    desk.pass_time(40)
    desk.send(ev.Resumed(alice))
    desk.send(ev.ResumeFailed(alice, "no_answer", "Its agent does not answer."))
    assert desk[carol].state is SessionState.QUEUED, "alice's variables are on it still"
    assert desk[alice].shares
    for _ in range(2):
        desk.now += 120.0
        said = [c for c in desk.send(ev.Ticked()) if isinstance(c, cmd.ResumeWork)]
        assert [c.session_id for c in said] == [alice], "it is tried again"
        desk.send(ev.ResumeFailed(alice, "no_answer", "Its agent does not answer."))
    assert desk[alice].end_reason is EndReason.FAILED


def test_one_that_never_can_be_put_aside_is_warned_and_released_in_the_end() -> None:
    desk = Desk(ENFORCE)
    desk.pauses = False
    alice, bob = two_idle(desk)
    desk.work(bob)
    desk.pass_time(100)
    carol = desk.get(user="carol")
    for _ in range(24):
        if phase(desk, alice) is PausePhase.SAVING:
            desk.send(ev.PauseFailed(alice, "not_saved", "What it has on the device could not be moved."))
        desk.pass_time(100)
    assert [n.code for n in desk.notices if n.user == "alice"] == ["idle_ends", "reclaimed"]
    assert desk[alice].end_reason is EndReason.RECLAIMED
    assert desk[carol].state is SessionState.READY


def test_a_warning_of_one_that_could_not_be_put_aside_is_taken_back_by_a_cell() -> None:
    desk = Desk(ENFORCE)
    desk.pauses = False
    alice, bob = two_idle(desk)
    desk.work(bob)
    desk.pass_time(1700)
    desk.get(user="carol")
    desk.send(ev.PauseFailed(alice, "not_saved", "What it has on the device could not be moved."))
    desk.pass_time(150)
    assert desk[alice].idle_ends_at is not None
    desk.work(alice)
    desk.work(alice, busy=False)
    desk.pauses = True
    desk.pass_time(400)
    assert desk[alice].state is SessionState.PAUSED, "what it had then is gone, perhaps: it is tried again"
