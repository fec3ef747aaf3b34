"""A front end's part: a notebook session, its kernel's websocket, and what comes out of cells."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from server_process import ServerProcess
from swangpu.errors import Unavailable
from swangpu.kernels import registry
from swangpu.kernels.door import ask

__all__ = ["LiveKernel"]


class LiveKernel:
    """One notebook with its kernel on a server, as an open browser tab has it.

    ``client_id`` stays over reconnects, as JupyterLab's does.
    """

    def __init__(self, server: ServerProcess, path: str, kernel_name: str = "python3") -> None:
        self.server = server
        self.path = path
        self.client_id = uuid.uuid4().hex
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": kernel_name}}
        with server.client() as client:
            answer = client.post("/api/sessions", json=body)
        assert answer.status_code == 201, answer.text
        self.session_id = answer.json()["id"]
        self.id = answer.json()["kernel"]["id"]

    async def connect(self, client_id: str = "") -> WebSocketClientConnection:
        """A connection; another ``client_id`` is another browser tab."""
        client_id = client_id or self.client_id
        url = f"ws://127.0.0.1:{self.server.port}/api/kernels/{self.id}/channels?session_id={client_id}"
        return await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {self.server.token}"}))

    def message(self, kind: str, content: dict[str, Any], channel: str = "shell") -> dict[str, Any]:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "username": "",
            "session": self.client_id,
            "version": "5.3",
            "date": "",
        }
        return {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}

    def code(self, code: str) -> dict[str, Any]:
        return self.message(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False},
        )

    def run(self, code: str, timeout_s: float = 30) -> str:
        """Run a cell; what it printed, showed or raised."""
        return self._within(self._run(code), timeout_s)

    async def _run(self, code: str) -> str:
        socket = await self.connect()
        request = self.code(code)
        await socket.write_message(json.dumps(request))
        out = await collect(socket, request["header"]["msg_id"], lambda kinds: {"idle", "execute_reply"} <= kinds)
        socket.close()
        return out

    def start(self, code: str) -> str:
        """Send a cell and go away at once; its message id."""

        async def send() -> str:
            socket = await self.connect()
            request = self.code(code)
            await socket.write_message(json.dumps(request))
            # until the kernel says that it runs
            await collect(socket, request["header"]["msg_id"], lambda kinds: "execute_input" in kinds)
            socket.close()
            return str(request["header"]["msg_id"])

        return self._within(send(), 30)

    def outputs_after_reconnect(self, message_id: str, enough: str, timeout_s: float = 30) -> str:
        """Come back as JupyterLab does, and read what came of an earlier cell until ``enough`` is in it."""

        async def read() -> str:
            socket = await self.connect()
            # what Lab asks first on each connection
            await socket.write_message(json.dumps(self.message("kernel_info_request", {})))
            text = ""
            while enough not in text:
                text += await collect(socket, message_id, lambda kinds: bool(kinds))
            socket.close()
            return text

        return self._within(read(), timeout_s)

    def _within(self, work: Coroutine[Any, Any, str], timeout_s: float) -> str:
        try:
            return asyncio.run(asyncio.wait_for(work, timeout_s))
        except (TimeoutError, asyncio.TimeoutError):
            raise AssertionError(f"nothing more came within {timeout_s} s; {self._state()}") from None

    def _state(self) -> str:
        """What is known of it, where something does not come to pass."""
        with self.server.client() as client:
            kernel = client.get(f"/api/kernels/{self.id}").text
        path = self.server.home / "run" / "swangpu" / "agents" / f"{self.id}.json"
        record = registry.read(path)
        agent: object = "no agent"
        if record is not None:
            try:
                agent = ask(Path(record["socket"]), {"do": "status"})
            except Unavailable as problem:
                agent = problem
        log = self.server.log()[-2000:]
        return f"kernel: {kernel}\nagent: {agent}\n{self.server.call('GET', '/sessions').text}\n{log}"


async def collect(socket: WebSocketClientConnection, parent: str, done: Callable[[set[str]], bool]) -> str:
    """Read messages about one request until ``done`` says so of the kinds (and states) seen."""
    text, kinds = "", set[str]()
    while not done(kinds):
        raw = await socket.read_message()
        if raw is None:
            raise AssertionError("the connection was closed")
        message = json.loads(raw)
        if message["parent_header"].get("msg_id") != parent:
            continue
        kind, content = message["msg_type"], message["content"]
        kinds.add(content["execution_state"] if kind == "status" else kind)
        if kind == "stream":
            text += content["text"]
        elif kind in ("execute_result", "display_data"):
            text += str(content["data"].get("text/plain", ""))
        elif kind == "error":
            text += f"{content['ename']}: {content['evalue']}"
    return text
