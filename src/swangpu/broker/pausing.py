"""A session is put aside, and brought back: ``saving → saved → wanted → restoring``.

What it has may stay on its device where there is room for it beside who comes next; it goes on there without a copy, or
is moved out when the room is needed: ``saving`` once more, now without shares.

Its shares go to somebody else only once what its kernels had on the device is known to be safe. Whatever fails is an
outcome: before the save everything goes on as it was, after it the person is told what became of it.
"""

from __future__ import annotations

from ..domain.devices import ShareKind
from ..domain.rows import replace
from ..domain.sessions import ComesBack, EndReason, Pause, PausePhase, Reason, Session, SessionState
from . import events as ev
from . import hostroom
from .commands import Command, PauseWork, ResumeWork
from .lifecycle import (
    begin_end,
    busy_seconds,
    capped,
    let_go,
    notify,
    settle_advice,
    settle_pause,
    take,
    title_of,
    uncut,
)
from .queue import Grant, options_of, place
from .quotas import over
from .residents import is_leaving
from .state import BrokerState

__all__ = [
    "NO_ROOM",
    "begin",
    "failed",
    "methods_of",
    "move_out",
    "regrant",
    "resumed",
    "resumed_not",
    "retry",
    "saved",
    "want",
    "want_no_more",
]

#: so often it is tried to bring a session back before it is given up, and so long after each failure, in seconds: who
#: has just left the device may take a moment to be gone from it
ATTEMPTS = 3
AGAIN_S = (2.0, 30.0)
#: a cell had begun that was not heard of yet; it is in less than this, in seconds
BUSY_RETRY_S = 1.0
#: what is set aside for paused sessions in host memory is used up
NO_ROOM = "no_room"
#: something of it would not come back as it was
NOT_CARRIED = "not_carried"


def methods_of(state: BrokerState, session: Session) -> tuple[str, ...]:
    """The ways in which it can be put aside, in the order in which they are to be tried.

    None for several shares: it would have to come back to all of them at the same time.
    """
    if len(session.shares) > 1:
        return ()
    allowed = state.policy.reclaim_of(session.pool or "").methods
    return tuple(m for m in allowed if m in session.pause_methods)


def begin(state: BrokerState, session: Session, why: str, now: float, stays_bytes: int = 0) -> list[Command]:
    """Have it put aside; its shares stay its own until that is confirmed.

    ``stays_bytes``: what has no more than that on the device may stay there. One that is paused and has kept its
    shares stays paused whatever comes of it, if that is what its owner has asked for.
    """
    room_bytes = hostroom.room_for(state, session)
    pause = session.pause or Pause(PausePhase.SAVING, why, now)
    pause = replace(
        pause, phase=PausePhase.SAVING, sent_at=now, room_bytes=room_bytes, kept=False, stays_bytes=stays_bytes
    )
    paused = replace(session, state=SessionState.PAUSED, pause=pause, idle_ends_at=None, reason=None)
    state.put_session(settle_advice(paused, now))
    return [_told(state, paused, pause)]


def move_out(state: BrokerState, session: Session, now: float) -> list[Command]:
    """Have what has stayed on a device moved out of it; it counts as there until that is confirmed."""
    if session.pause is None:
        return []
    room_bytes = hostroom.room_for(state, session)
    pause = replace(session.pause, phase=PausePhase.SAVING, sent_at=now, room_bytes=room_bytes, again_at=None)
    state.put_session(replace(session, pause=pause))
    return [_told(state, session, pause)]


def _told(state: BrokerState, session: Session, pause: Pause) -> PauseWork:
    leaves = pause.resident_on is not None
    # what was allowed once may not be any more, and it has to go all the same
    methods = methods_of(state, session) or (session.pause_methods if leaves else ())
    return PauseWork(session.id, methods, pause.room_bytes, pause.stays_bytes, leaves)


def saved(state: BrokerState, session: Session, event: ev.PauseSaved, now: float) -> list[Command]:
    """What it had is safe: its shares are free now, unless that way of pausing keeps them."""
    pause = session.pause
    if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.SAVING:
        return []
    leaves, stays = is_leaving(session), event.frees and event.resident_bytes > 0
    if leaves and stays:
        # that it may stay was said before it was told to go
        return []
    if leaves and not event.frees:
        return _stays_on(state, session, ev.PauseFailed(session.id, event.code or "not_saved", event.text), now)
    phase = PausePhase.SAVED if pause.wanted_at is None else PausePhase.WANTED
    was = session.shares[0] if session.shares else pause.resident_on
    first = was if event.comes_back is not ComesBack.ANYWHERE or stays else None
    # only whole devices are like each other to the driver
    remaps = event.comes_back is ComesBack.FLAVOR and not stays and first is not None and first.kind is ShareKind.WHOLE
    # a process that has begun to use one MIG device can't go on with another one, though it be on the same GPU
    device = (first.mig_uuid or first.device_uuid) if first is not None else None
    done = replace(
        pause,
        phase=phase,
        method=event.method,
        saved_bytes=event.saved_bytes,
        device_uuid=device,
        sent_at=None,
        room_bytes=None,
        remaps=remaps,
        stays_bytes=0,
        resident_bytes=event.resident_bytes if stays else 0,
        resident_on=was if stays else None,
    )
    if leaves:
        state.put_session(replace(session, pause=done, pause_again_at=None, lost_since=None))
        return []
    session = replace(session, busy=False, busy_s=busy_seconds(session, now), busy_from=None)
    # one that had kept its shares is counted already
    session = replace(session, pauses=session.pauses + (pause.method is None), pause_again_at=None)
    if not event.frees:
        text, params = f"Paused; its GPU is kept for it. {event.text}", (("why", event.code),)
        why = Reason("paused_held", text, params) if event.code else None
        # for who waits it is idle from now on, and is tried again when there may be room
        idle_since = session.idle_since if session.idle_since is not None else now
        again_at = now + state.policy.pause_retry_s
        session = replace(session, idle_since=idle_since, pause_again_at=again_at)
        session = replace(session, pause=replace(done, phase=PausePhase.SAVED, kept=True), reason=why)
        state.put_session(session)
        return want(state, session, now) if phase is PausePhase.WANTED else []
    if session.lease_cause == "quota":
        # what was lent has gone back
        session = uncut(session)
    partly = Reason(event.code, f"Paused, variables kept. {event.text}") if event.code else None
    state.put_session(replace(let_go(state, session, now), pause=replace(done, freed_at=now), reason=partly))
    return []


def failed(state: BrokerState, session: Session, event: ev.PauseFailed, now: float) -> list[Command]:
    """It could not be put aside: it goes on, or its kernel is lost."""
    pause = session.pause
    if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.SAVING:
        return []
    if event.lost:
        return _lost(state, session, event.code, event.text, now)
    if is_leaving(session):
        return _stays_on(state, session, event, now)
    # A cell that runs says nothing against another attempt once it has ended.
    works = event.code == "kernel_busy"
    again_at = now + (BUSY_RETRY_S if works else state.policy.pause_retry_s)
    active = replace(session, state=SessionState.ACTIVE, pause=None, pause_again_at=again_at)
    if event.code in (NO_ROOM, NOT_CARRIED):
        # nobody has to be told at once, and whoever looks should see why somebody else gave way
        active = replace(active, reason=Reason(event.code, f"It could not be paused for who waits. {event.text}"))
    if works and active.idle_since is not None:
        active = replace(active, idle_since=now)
    if pause.wanted_at is not None and not active.busy:
        # the cell that waited, or was why it could not be put aside, runs now
        active = replace(active, busy=True, busy_from=now, idle_since=None)
    state.put_session(active)
    if pause.why != "owner" and not event.doubtful:
        return []
    title = title_of(state, session)
    return [notify(session, "not_paused", "warning", f"{title} could not be paused: {event.text}", title=title)]


def _stays_on(state: BrokerState, session: Session, event: ev.PauseFailed, now: float) -> list[Command]:
    """It could not be moved out: it has its GPU back, as one that can't be put aside keeps it.

    Where that is somebody else's it stays as it is, and that is tried again. Where nobody has it, and it can't be its
    own either, others would wait for that in vain: it is given up in the end, as one that can't be brought back is.
    """
    pause = session.pause
    on = pause.resident_on if pause is not None else None
    if pause is None or on is None:
        return []
    reason = Reason(event.code, f"It could not be moved to host memory for who waits. {event.text}")
    phase = PausePhase.SAVED if pause.wanted_at is None else PausePhase.WANTED
    pause = replace(pause, phase=phase, sent_at=None, room_bytes=None)
    again_at = now + state.policy.pause_retry_s
    stays = replace(session, pause=pause, pause_again_at=again_at, reason=reason)
    state.put_session(stays)
    title = title_of(state, session)
    text = f"{title} could not be paused: {event.text}"
    told = [notify(session, "not_paused", "warning", text, title=title)] if event.doubtful else []
    for option in options_of(state, stays):
        if over(state, stays, option.flavor.name, option.fraction) is None:
            shares = place(state, stays, option, now)
            if shares is not None:
                return [*regrant(state, Grant(stays, option, shares), now), *told]
    pool = state.index.pools.get(on.pool)
    if pool is None or on.id not in pool.free.get(on.flavor, {}):
        return [*told]
    if pause.attempts + 1 >= ATTEMPTS:
        return _lost(state, stays, event.code, reason.text, now, why=EndReason.FAILED)
    state.put_session(replace(stays, pause=replace(pause, attempts=pause.attempts + 1)))
    return [*told]


def want(state: BrokerState, session: Session, now: float) -> list[Command]:
    """A cell waits for its GPU, or its owner wants it back."""
    pause = session.pause
    if pause is None or session.state is not SessionState.PAUSED:
        return []
    if pause.phase is PausePhase.SAVING:
        if pause.wanted_at is None:
            state.put_session(replace(session, pause=replace(pause, wanted_at=now)))
        return []
    if pause.phase is not PausePhase.SAVED:
        return []
    wanted_at = pause.wanted_at if pause.wanted_at is not None else now
    pause = replace(pause, again_at=None)
    if session.shares:
        # somebody computes there again: it goes to nobody else
        pause = replace(pause, phase=PausePhase.RESTORING, wanted_at=wanted_at, sent_at=now)
        state.put_session(replace(settle_advice(session, now), pause=pause, reason=None, idle_ends_at=None))
        return [ResumeWork(session.id)]
    state.put_session(replace(session, pause=replace(pause, phase=PausePhase.WANTED, wanted_at=wanted_at)))
    return []


def want_no_more(state: BrokerState, session: Session, now: float) -> list[Command]:
    """The cell that waited was interrupted: its place in the queue is somebody else's."""
    pause = session.pause
    if pause is None or session.state is not SessionState.PAUSED or pause.wanted_at is None:
        return []
    if pause.phase is PausePhase.WANTED:
        pause = replace(pause, phase=PausePhase.SAVED)
    if pause.phase in (PausePhase.SAVING, PausePhase.SAVED):
        state.put_session(replace(session, pause=replace(pause, wanted_at=None, again_at=None)))
    return []


def regrant(state: BrokerState, given: Grant, now: float) -> list[Command]:
    """Its turn has come to have a GPU back; its lease goes on from where it stood."""
    session, pause = given.session, given.session.pause
    if pause is None:
        return []
    stood_s = max(0.0, now - pause.freed_at) if pause.freed_at is not None else 0.0
    before = session.lease_before
    back = take(
        replace(
            session,
            pool=given.candidate.pool,
            flavor=given.candidate.flavor.name,
            pause=replace(
                pause,
                phase=PausePhase.RESTORING,
                sent_at=now,
                freed_at=None,
                # a slice of its device is as good to it as another
                resident_on=given.shares[0] if pause.resident_on is not None else None,
            ),
            lease_until=session.lease_until + stood_s if session.lease_until is not None else None,
            lease_max_until=session.lease_max_until + stood_s if session.lease_max_until is not None else None,
            lease_before=(before[0] + stood_s, before[1] + stood_s) if before is not None else None,
        ),
        given.shares,
        now,
    )
    state.put_session(capped(state, back, now))
    return [ResumeWork(session.id)]


def resumed(state: BrokerState, session: Session, event: ev.ResumeDone, now: float) -> list[Command]:
    """It is on its shares again."""
    pause = session.pause
    if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.RESTORING:
        return []
    # that it could not make room is said until it computes: see `failed`
    told = session.reason if session.reason is not None and session.reason.code == NO_ROOM else None
    active = replace(settle_pause(session, now), state=SessionState.ACTIVE, reason=None if event.busy else told)
    if event.busy:
        active = replace(active, busy=True, busy_from=now, idle_since=None)
    else:
        active = replace(active, busy=False, busy_from=None, idle_since=now)
    state.put_session(active)
    if not event.code:
        return []
    title = title_of(state, session)
    return [notify(session, event.code, "warning", f"{title}: {event.text}", title=title)]


def resumed_not(state: BrokerState, session: Session, event: ev.ResumeFailed, now: float) -> list[Command]:
    """It could not be brought back: tried again later, and given up in the end.

    One that has kept its shares has something on them still: they are nobody else's before it has ended.
    """
    pause = session.pause
    if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.RESTORING:
        return []
    if event.own_device and pause.remaps and not event.lost:
        # that it can't be on another device says nothing of its own, where it was not tried
        pause = replace(pause, remaps=False, attempts=pause.attempts - 1)
    if event.lost or pause.attempts + 1 >= ATTEMPTS:
        return _lost(
            state, session, event.code, event.text, now, why=EndReason.LOST if event.lost else EndReason.FAILED
        )
    pause, session = (
        replace(pause, attempts=pause.attempts + 1),
        replace(session, reason=Reason(event.code, event.text)),
    )
    if pause.kept:
        state.put_session(replace(session, pause=replace(pause, sent_at=now)))
        return []
    again_at = now + AGAIN_S[max(0, min(pause.attempts - 1, len(AGAIN_S) - 1))]
    again = replace(pause, phase=PausePhase.SAVED, again_at=again_at, sent_at=None, freed_at=now)
    state.put_session(replace(let_go(state, session, now), pause=again))
    return []


def retry(state: BrokerState, session: Session, now: float) -> list[Command]:
    """Say again what was not answered."""
    pause = session.pause
    if pause is None or session.state is not SessionState.PAUSED:
        return []
    if pause.phase is PausePhase.SAVING:
        state.put_session(replace(session, pause=replace(pause, sent_at=now)))
        return [_told(state, session, pause)]
    if pause.phase is PausePhase.RESTORING:
        state.put_session(replace(session, pause=replace(pause, sent_at=now)))
        return [ResumeWork(session.id)]
    return []


def _lost(
    state: BrokerState, session: Session, code: str, text: str, now: float, why: EndReason = EndReason.LOST
) -> list[Command]:
    title = title_of(state, session)
    told = notify(session, code, "error", f"{title}: {text}", title=title)
    return [*begin_end(state, session, why, now, reason=Reason(code, text)), told]
