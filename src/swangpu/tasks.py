"""Waiting for a while, and ending tasks, without losing a cancellation.

Before Python 3.12 ``asyncio.wait_for`` swallows a cancellation that comes in the moment in which what it waits for is
done: a loop around it goes on, and who waits for its end waits for ever. A server that is asked to end must end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["end", "wait_at_most", "within"]

T = TypeVar("T")

#: whoever has not ended so long after it was cancelled has not heard of it, in seconds: longer than what is tidied up
AGAIN_S = 15.0


async def within(awaitable: Awaitable[T], seconds: float) -> T:
    """Wait for something for some seconds; as ``asyncio.wait_for``, but a cancellation is never lost.

    Raises
    ------
    asyncio.TimeoutError
        It was not done in time, and has been cancelled.
    """
    future = asyncio.ensure_future(awaitable)
    try:
        done, _ = await asyncio.wait({future}, timeout=seconds)
    except asyncio.CancelledError:
        await _cancelled(future)
        raise
    if not done:
        await _cancelled(future)
        if future.cancelled():
            raise asyncio.TimeoutError
        # it was done in the last moment
    return future.result()


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or for some seconds if it does not come; it is set afterwards."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set) if seconds is not None else None
    try:
        await event.wait()
    finally:
        if timer is not None:
            timer.cancel()


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    given = {task for task in tasks if task is not None}
    left = given
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    for task in given:
        if not task.cancelled():
            task.exception()  # so that it is not logged as one that nobody has looked at


async def _cancelled(future: asyncio.Future[Any]) -> None:
    future.cancel()
    await asyncio.wait({future})
    if not future.cancelled():
        future.exception()
