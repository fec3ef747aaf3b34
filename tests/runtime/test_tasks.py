"""A cancellation is heard, whatever happens in the same moment: a server that is asked to end does."""

from __future__ import annotations

import asyncio

import pytest

from swangpu.tasks import end, within


@pytest.mark.parametrize("steps", range(6))
def test_what_comes_with_the_cancellation_does_not_swallow_it(steps: int) -> None:
    async def main() -> None:
        answer = asyncio.Event()

        async def once() -> None:
            await within(answer.wait(), 60.0)

        async def for_ever() -> None:
            while True:
                await once()
                answer.clear()

        task = asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert done
        assert task.cancelled()

    asyncio.run(main())


def test_what_is_not_done_in_time_is_cancelled() -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()
        with pytest.raises(asyncio.TimeoutError):
            await within(never, 0.01)
        assert never.cancelled()

    asyncio.run(main())


def test_what_is_waited_for_fails_as_it_fails() -> None:
    async def broken() -> None:
        raise KeyError("no such thing")

    async def main() -> None:
        with pytest.raises(KeyError):
            await within(broken(), 60.0)

    asyncio.run(main())


def test_a_task_that_does_not_hear_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swangpu.tasks.AGAIN_S", 0.01)

    async def main() -> None:
        heard = 0

        async def deaf() -> None:
            nonlocal heard
            while heard < 3:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    heard += 1

        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await end(task, None)
        assert heard == 3
        assert task.done()

    asyncio.run(main())
