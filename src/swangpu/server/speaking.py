"""What a session's person should know, in the output of their cells: warnings, and what a held cell waits for.

It is worked out from the broker's state, and not from what was told at some time: so what is no longer true is taken
back, and a server that takes over says the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from ..api import views
from ..broker.index import waits
from ..broker.policy import ReclaimMode
from ..broker.queue import ahead_of
from ..broker.reasons import waiting_reason
from ..broker.reservations import first_wanting
from ..broker.state import BrokerState
from ..domain.sessions import Session, SessionState
from ..errors import SwanGpuError
from ..kernel_side import words
from ..kernels.suspend import WAITING
from ..ports import KernelHost, Remark, Saying
from ..runtime import Runtime
from ..tasks import end

__all__ = ["Speaker", "saying_of"]

log = logging.getLogger(__name__)

#: a cell that has its GPU back by then is not told of a queue, in seconds
MOMENT_S = 1.0
#: a kernel is told something new no sooner after what it was told before, in seconds
EVERY_S = 2.0
#: why somebody waits, where that is not the queue
NOT_THE_QUEUE = frozenset({"over_quota", "pool_away"})


def saying_of(state: BrokerState, session: Session, now: float) -> Saying:
    """What a session's kernels are to show now. Pure."""
    return Saying(tuple(_remarks(state, session, now)), _waiting(state, session, now))


class Speaker:
    """Keeps the agents of all kernels on sessions told, as little as need be.

    Parameters
    ----------
    runtime : Runtime
    kernels : KernelHost
    """

    def __init__(self, runtime: Runtime, kernels: KernelHost) -> None:
        self._runtime = runtime
        self._kernels = kernels
        #: by kernel id: which agent was told what, and when (monotonic seconds)
        self._told: dict[str, tuple[int, Saying, float]] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._later: asyncio.TimerHandle | None = None
        self._stop: Callable[[], None] = runtime.subscribe(lambda change: self.look())

    def look(self) -> None:
        """Tell the kernels of whose sessions something else is true than they know."""
        state, now = self._runtime.broker.state, self._runtime.now()
        held = [s for s in state.live() if s.kernel_ids and s.state in views.HOLDING]
        agents = {k.kernel_id: k.agent_pid for k in self._kernels.kernels()} if held else {}
        there = {kernel_id for session in held for kernel_id in session.kernel_ids}
        self._told = {kernel_id: told for kernel_id, told in self._told.items() if kernel_id in there}
        again = any(waits(s) and not _in_earnest(s, now) for s in held)
        for session in held:
            saying = saying_of(state, session, now)
            for kernel_id in session.kernel_ids:
                agent = agents.get(kernel_id)
                # what is told now is looked at again when that is done
                if agent is not None and kernel_id not in self._telling:
                    again = self._news(kernel_id, agent, saying) or again
        if again:
            self._look_later()

    async def close(self) -> None:
        self._stop()
        if self._later is not None:
            self._later.cancel()
        await end(*self._telling.values())

    # -- inside -----------------------------------------------------------------------------------

    def _look_later(self) -> None:
        def look() -> None:
            self._later = None
            self.look()

        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(MOMENT_S, look)

    def _news(self, kernel_id: str, agent: int, saying: Saying) -> bool:
        """Tell a kernel what it does not know; whether that has to wait."""
        known, now = self._told.get(kernel_id), asyncio.get_running_loop().time()
        if known is not None and known[:2] == (agent, saying):
            return False
        if known is not None and known[0] == agent and known[1].remarks == saying.remarks and now - known[2] < EVERY_S:
            # a line that changes with every move in the queue can't be read
            return True
        # remembered also when it fails: it is tried again when something else is true
        self._told[kernel_id] = (agent, saying, now)
        task = self._telling[kernel_id] = asyncio.create_task(self._tell(kernel_id, saying))
        task.add_done_callback(lambda task: None if task.cancelled() else self.look())
        return False

    async def _tell(self, kernel_id: str, saying: Saying) -> None:
        try:
            await self._kernels.say(kernel_id, saying)
        except SwanGpuError as error:
            log.debug("Kernel %s could not be told: %s", kernel_id, error)
        finally:
            del self._telling[kernel_id]


def _waiting(state: BrokerState, session: Session, now: float) -> str:
    if session.state is not SessionState.PAUSED:
        return ""
    if not waits(session) or not _in_earnest(session, now):
        return WAITING
    ahead = ahead_of(state, session)
    estimate = views.estimate_view(views.estimate(state, session, ahead, now))
    shown = {
        "queue_position": len(ahead) + 1,
        "queue_length": views.queue_length(state, session),
        "estimate": msgspec.to_builtins(estimate),
    }
    reason = waiting_reason(state, session)
    more = f" {reason.text}" if reason.code in NOT_THE_QUEUE else " Interrupt the cell to wait no longer."
    return f"Waiting for a GPU: {words.place(shown)}.{more}"


def _in_earnest(session: Session, now: float) -> bool:
    """Whether a cell waits for its GPU, and not only for what has just been given back to come."""
    wanted_at = session.pause.wanted_at if session.pause is not None else None
    return wanted_at is not None and now - wanted_at >= MOMENT_S


def _remarks(state: BrokerState, session: Session, now: float) -> list[Remark]:
    """What is worth a line in the next cell's output; the worst first."""
    if session.state is not SessionState.ACTIVE:
        return []
    title = views.title_of_view(state, session)
    out: list[Remark] = []
    if session.lost_since is not None:
        text = f"{title} does not answer. If it does not come back soon, the session ends."
        out.append(Remark(f"device_away:{session.lost_since}", text))
    ends = _lease_ends(state, session, title, now)
    if ends is not None:
        out.append(ends)
    idle = _idle(state, session, title, now)
    if idle is not None:
        out.append(idle)
    return out


def _lease_ends(state: BrokerState, session: Session, title: str, now: float) -> Remark | None:
    until, cause = session.lease_until, session.lease_cause
    if until is None or until <= now or (session.warned_s is None and cause != "quota"):
        return None
    at = words.clock(until, now)
    if cause == "quota":
        text = f"{title} was lent to your group and is wanted back: it goes back at {at}."
    elif cause == "reservation":
        wanted = first_wanting(state, session, now)
        event = words.clean(wanted.title) if wanted is not None else "an event or for maintenance"
        text = f"{title} goes back at {at}: it is set aside for {event} from then on."
    else:
        text = f"{title} goes back at {at}: its lease ends."
    longer = cause is None and until < (session.lease_max_until or until) - 1.0
    actions = ("extend", "release") if longer else ("release",)
    return Remark(f"lease_ends:{until}:{session.warned_s}", text, actions, until)


def _idle(state: BrokerState, session: Session, title: str, now: float) -> Remark | None:
    """That it was idle is over as soon as a cell runs; who computes now and then should know that others wait."""
    if session.idle_since is None:
        return None
    rule = state.policy.reclaim_of(session.pool or "")
    if session.idle_ends_at is not None:
        minutes = _minutes(session.idle_ends_at - rule.grace_s - session.idle_since)
        at = words.clock(session.idle_ends_at, now)
        text = (
            f"{title} has been idle for {minutes} min, and somebody waits for it: without this cell it would have gone "
            f"back at {at}."
        )
        return Remark(f"idle_ends:{session.idle_ends_at}", text, ("release",), session.idle_ends_at)
    if session.advised_from is None or rule.mode is not ReclaimMode.WARN:
        return None
    minutes = _minutes(session.advised_from - session.idle_since)
    text = f"{title} has been idle for {minutes} min, and somebody waits for it. Please release it if you can."
    return Remark(f"idle_wanted:{session.advised_from}", text, ("release",))


def _minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))
