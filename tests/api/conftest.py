"""A real Jupyter server with the extension on a simulated fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BASE = "/swangpu/api/v1"


@pytest.fixture
def jp_server_config(tmp_path: Path) -> dict[str, Any]:
    return {
        "ServerApp": {"jpserver_extensions": {"swangpu.server": True}},
        "SwanGpu": {
            "simulated": True,
            "data_dir": str(tmp_path / "data"),
            "runtime_dir": str(tmp_path / "run"),
        },
    }


@pytest.fixture
def api(jp_fetch: Callable[..., Any], jp_serverapp: Any) -> Any:
    """Call the API; answers ``(status, body)`` and raises nothing."""

    async def call(method: str, path: str, body: Any = None, *, raw: bytes | None = None, **kwargs: Any) -> Any:
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"token {jp_serverapp.identity_provider.token}",
            **kwargs.pop("headers", {}),
        }
        data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        if method == "POST" and data is None:
            data = b""
        parts = f"{BASE}{path}".strip("/")
        answer = await jp_fetch(parts, method=method, body=data, headers=headers, raise_error=False, **kwargs)
        text = answer.body.decode()
        kind = answer.headers.get("Content-Type", "")
        return answer.code, json.loads(text) if "json" in kind and text else text, answer.headers

    return call
