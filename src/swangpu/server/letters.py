"""What a follower has to tell its leader, kept until somebody who leads has heard it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..errors import BadInput, NotFound, SwanGpuError
from ..tasks import end
from .internal import Report
from .neighbours import Neighbourhood

__all__ = ["Outbox"]

log = logging.getLogger(__name__)

#: first and longest pause before a report that nobody took is made again
RETRY_S = (0.2, 5.0)


class Outbox:
    """Sends reports in order; costs nothing while there are none.

    Parameters
    ----------
    neighbourhood : Neighbourhood
    leader : callable
        The leader's base URL and token; None when it is us.
    deliver : callable
        Takes a report when we lead ourselves by now.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        leader: Callable[[], Awaitable[tuple[str, str] | None]],
        deliver: Callable[[Report], None],
    ) -> None:
        self._near = neighbourhood
        self._leader = leader
        self._deliver = deliver
        self._waiting: list[Report] = []
        self._sending: asyncio.Task[None] | None = None

    def post(self, report: Report) -> None:
        """Send it behind what waits. Of the activity of one session only the latest counts."""
        if report.kind == "activity":
            # the first may be on its way: it is taken from the list only when it has arrived
            self._waiting[1:] = [
                r for r in self._waiting[1:] if r.kind != "activity" or r.session_id != report.session_id
            ]
        self._waiting.append(report)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """What is not sent by now is seen by the leader itself: our process ends."""
        await end(self._sending)

    async def _send(self) -> None:
        pause_s, longest_s = RETRY_S
        while self._waiting:
            report = self._waiting[0]
            try:
                leader = await self._leader()
                if leader is None:
                    self._deliver(report)
                else:
                    await self._near.report(*leader, report)
            except (NotFound, BadInput) as error:
                log.info("The leader does not understand what this server reports: %s", error)
            except SwanGpuError as error:
                log.debug("Nobody took a report: %s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, 2 * pause_s)
                continue
            pause_s = RETRY_S[0]
            del self._waiting[0]
