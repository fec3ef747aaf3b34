"""A desk with one device on which paused sessions stay, and what people do there."""

from __future__ import annotations

from broker.desk import ENFORCE, Desk
from broker.fleet import GB, whole
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy
from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind
from swangpu.domain.sessions import PausePhase, SessionState

__all__ = ["ask", "beside", "goes_on", "one_device", "phase", "residents", "small_desk", "wants"]


def one_device(as_of: float, lost: bool = False, shares: tuple[Share, ...] = ()) -> PoolInventory:
    """A device of 16 GB that can be had as a whole only."""
    return PoolInventory(
        "local",
        "This machine",
        True,
        True,
        as_of,
        shares or (whole("T1"),),
        (
            Flavor("t4", "T4", 16 * GB, ShareKind.WHOLE),
            Flavor("t4/time-2", "T4 half, 8 GB", 8 * GB, ShareKind.TIME_SLICE),
        ),
        lost=("T1",) if lost else (),
    )


def small_desk(policy: Policy = ENFORCE) -> Desk:
    desk = Desk(policy)
    desk.stays = True
    desk.send(ev.InventoryReported(one_device(desk.now)))
    return desk


def ask(desk: Desk, user: str, memory_gb: int | None) -> str:
    """Somebody asks for so much memory, or for the whole device; computes at once if it is their turn."""
    got = desk.get("t4", user=user) if memory_gb is None else desk.get(None, user=user, memory_bytes=memory_gb * GB)
    if desk[got].state is SessionState.ACTIVE:
        desk.work(got)
        desk.work(got, busy=False)
    return got


def goes_on(desk: Desk, session_id: str) -> None:
    """Its turn may have come: it is claimed, and computes for a moment."""
    if desk[session_id].state is SessionState.READY:
        desk.send(ev.Claimed(session_id))
    desk.work(session_id)
    desk.work(session_id, busy=False)


def beside(desk: Desk, *asks: int) -> list[str]:
    """So many take turns on the device, each when the one before has been idle for long enough."""
    out: list[str] = []
    for number, memory_gb in enumerate(asks):
        out.append(ask(desk, f"user{number}", memory_gb))
        desk.pass_time(100)
        goes_on(desk, out[-1])
    desk.pass_time(100)
    return out


def residents(desk: Desk) -> dict[str, int]:
    found = {}
    for session in desk.broker.state.live():
        if session.pause is not None and session.pause.resident_on is not None and not session.shares:
            found[session.user] = session.pause.resident_bytes
    return found


def phase(desk: Desk, session_id: str) -> PausePhase | None:
    pause = desk[session_id].pause
    return pause.phase if pause is not None else None


def wants(desk: Desk, session_id: str) -> None:
    desk.send(ev.ActivityReported(session_id, True))
