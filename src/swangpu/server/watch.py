"""Tells who uses more memory of a time-sliced device than the share, and whom that hurts.

A time-slice is advice, so nothing but a word keeps people to it. Both are told once an episode, and their sessions
carry a warning as long as it lasts. Nothing is done where the driver does not show processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ..backends.share_env import Overuse, overuse
from ..broker.commands import Notify
from ..broker.lifecycle import title_of
from ..domain.devices import ShareKind
from ..domain.sessions import Reason, Session
from ..domain.telemetry import Sample
from ..runtime import Runtime
from ..tasks import end
from .room import RoomWatch

__all__ = ["ShareWatch"]

log = logging.getLogger(__name__)

#: who comes back over the share within this time is not told again, in seconds
QUIET_S = 60.0

_Key = tuple[str, str, str]


@dataclass
class _Episode:
    told: Notify
    reason: Reason
    last_seen: float


class ShareWatch:
    """Looks at each reading while time-slices are held.

    Parameters
    ----------
    runtime : Runtime
    sessions : callable
        The sessions that hold something now.
    pids : callable
        The ids of all processes of each session, children included, by session id. Called on a thread of its own:
        it walks through the machine's processes.
    """

    def __init__(
        self,
        runtime: Runtime,
        sessions: Callable[[], Iterable[Session]],
        pids: Callable[[], Mapping[str, Collection[int]]],
    ) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._pids = pids
        self._episodes: dict[_Key, _Episode] = {}
        self._warnings: dict[str, Reason] = {}
        self._looking: asyncio.Task[None] | None = None
        self._room = RoomWatch(runtime)

    @property
    def warnings(self) -> Mapping[str, Reason]:
        """By session id: what its person should know now."""
        return self._warnings

    def look(self, samples: Mapping[str, Sample]) -> None:
        """Take a reading, on the event loop; one that comes while the last is looked at is left out."""
        self._room.look(samples)
        sliced = any(share.kind is ShareKind.TIME_SLICE for s in self._sessions() for share in s.shares)
        if (sliced or self._warnings) and (self._looking is None or self._looking.done()):
            self._looking = asyncio.ensure_future(self._look(samples))

    async def close(self) -> None:
        await self._room.close()
        await end(self._looking)

    # -- inside -----------------------------------------------------------------------------------

    async def _look(self, samples: Mapping[str, Sample]) -> None:
        try:
            pids = await asyncio.to_thread(self._pids)
            held = {s.id: s for s in self._sessions()}
            self._settle(overuse({i: s.shares for i, s in held.items()}, pids, samples), held)
        except Exception:
            # Nobody waits for this task: without a word here it would fail in silence.
            log.exception("The watch over time-slices failed")

    def _settle(self, found: list[Overuse], held: Mapping[str, Session]) -> None:
        now = self._runtime.now()
        told: list[Notify] = []
        warnings: dict[str, Reason] = {}
        for over in found:
            for session_id in (over.session_id, *over.victims):
                key = (session_id, over.session_id, over.device_uuid)
                episode = self._episodes.get(key)
                if episode is None:
                    episode = self._episodes[key] = self._begin(over, held[session_id], now)
                    told.append(episode.told)
                episode.last_seen = now
                # One's own doing is said first.
                if session_id == over.session_id:
                    warnings[session_id] = episode.reason
                else:
                    warnings.setdefault(session_id, episode.reason)
        for key in [k for k, e in self._episodes.items() if now - e.last_seen > QUIET_S or k[0] not in held]:
            del self._episodes[key]
        if told or warnings != self._warnings:
            changed = {i for i in warnings.keys() | self._warnings.keys() if warnings.get(i) != self._warnings.get(i)}
            self._warnings = warnings
            self._runtime.tell(told, {held[i].user for i in changed if i in held})

    def _begin(self, over: Overuse, session: Session, now: float) -> _Episode:
        title = title_of(self._runtime.broker.state, session)
        used, limit = _gigabytes(over.used_bytes), _gigabytes(over.limit_bytes)
        if session.id == over.session_id:
            code = "over_share"
            text = f"It uses {used} GB of GPU memory, and its share is {limit} GB."
            more = " Others on the same GPU can run out of memory. Free some, or get a larger share."
        else:
            code = "crowded_share"
            text = f"Another session on the same GPU uses {used} GB of memory, and its share is {limit} GB."
            more = " Yours can run out of memory though it keeps to its share. The other was told."
        params = (("limit_bytes", over.limit_bytes), ("title", title), ("used_bytes", over.used_bytes))
        told = Notify(session.user, session.id, code, "warning", f"{title}: {text}{more}", params)
        return _Episode(told, Reason(code, text + more, params), now)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g}"
