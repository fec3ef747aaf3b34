"""Jupyter Server does not end when an extension fails to, or never does: ours is always done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from swangpu.errors import Unavailable
from swangpu.server.extension import SwanGpu


class Broken:
    async def close(self) -> None:
        raise RuntimeError("the disk is gone")


class Endless:
    async def close(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("service", "said"), [(Broken(), "Broken did not end as it should"), (Endless(), "Endless did not end within")]
)
def test_what_does_not_end_is_logged_and_left(
    service: Any, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("swangpu.server.extension.END_S", 0.01)
    extension = SwanGpu()
    extension._files, extension.hook = [], None
    extension.service = service
    asyncio.run(extension.stop_extension())
    assert said in caplog.text


def test_what_was_not_made_before_the_end_is_not_made_any_more() -> None:
    """A request that comes while kernels are shut down would start a broker that nobody closes."""
    extension = SwanGpu()
    extension._files, extension.hook, extension.service = [], None, None
    extension._making = asyncio.Lock()

    async def ends() -> None:
        await extension.stop_extension()
        with pytest.raises(Unavailable) as raised:
            await extension.made()
        assert raised.value.code == "shutting_down"

    asyncio.run(ends())
