"""A site that compresses its answers has the stream compressed too, and whole."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from swangpu.api.routes import BASE


@pytest.fixture(params=[True, False])
def compressed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def jp_server_config(jp_server_config: dict[str, Any], compressed: bool) -> dict[str, Any]:
    jp_server_config["ServerApp"]["tornado_settings"] = {"compress_response": compressed}
    return jp_server_config


async def test_every_event_can_be_read(jp_fetch: Callable[..., Any], compressed: bool) -> None:
    answer = await jp_fetch(
        *f"{BASE}/stream".strip("/").split("/"),
        params={"limit": "3", "topics": "sessions,pools,telemetry"},
        headers={"Accept-Encoding": "gzip"},
        decompress_response=False,
    )
    assert (answer.headers.get("Content-Encoding") == "gzip") == compressed
    text = (gzip.decompress(answer.body) if compressed else answer.body).decode()
    assert [line for line in text.splitlines() if line.startswith("event: ")][:3] == [
        "event: hello",
        "event: sessions",
        "event: pools",
    ]
    assert text.count("\n\n") == 3
