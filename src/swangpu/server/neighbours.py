"""The other servers of this user on this host: where they are, whether they live, and how to call them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import SwanGpuError, Unavailable
from ..kernel_side import discovery
from ..ports import KernelInfo
from .internal import BASE, KernelCall, Kernels, Report

if TYPE_CHECKING:
    import httpx
    import psutil

__all__ = ["Neighbour", "Neighbourhood"]

CONNECT_TIMEOUT_S = 1.0
REPORT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Neighbour:
    """A server: where it is, and the process that it is."""

    pid: int
    url: str
    token: str = field(repr=False)
    process: psutil.Process = field(repr=False, compare=False)

    def runs(self) -> bool:
        """Whether it is still that process; one that is only not yet buried has ended too."""
        import psutil

        try:
            return bool(self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


class Neighbourhood:
    """Finds and calls the servers that share a leader with us.

    Parameters
    ----------
    directory : Path
        Where they say so; see `swangpu.server.files.neighbours_dir`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._found: dict[int, Neighbour] = {}
        self._client: httpx.AsyncClient | None = None

    def all(self) -> dict[int, Neighbour]:
        """The others that run, by process id."""
        import psutil

        out: dict[int, Neighbour] = {}
        for place in discovery.read_all(self._directory):
            if place.pid is None or place.pid == os.getpid():
                continue
            known = self._found.get(place.pid)
            if known is None or (known.url, known.token) != (place.url, place.token):
                with contextlib.suppress(psutil.Error):
                    known = Neighbour(place.pid, place.url, place.token, psutil.Process(place.pid))
            if known is not None and known.runs():
                out[place.pid] = known
        self._found = out
        return out

    async def kernels(self, neighbour: Neighbour, timeout_s: float) -> Sequence[KernelInfo]:
        """Its kernels.

        Raises
        ------
        SwanGpuError
            It does not say.
        """
        content = await self._call("GET", neighbour.url, neighbour.token, "/kernels", None, timeout_s)
        try:
            return msgspec.json.decode(content, type=Kernels).items
        except msgspec.MsgspecError as error:
            raise _no_sense() from error

    async def act(self, neighbour: Neighbour, kernel_id: str, action: str, call: KernelCall, timeout_s: float) -> Any:
        """Have something done with a kernel there.

        Raises
        ------
        SwanGpuError
            What was raised there; `Unavailable` when it does not answer.
        """
        from urllib.parse import quote

        path = f"/kernels/{quote(kernel_id, safe='')}/{action}"
        content = await self._call("POST", neighbour.url, neighbour.token, path, msgspec.json.encode(call), timeout_s)
        try:
            return msgspec.json.decode(content)
        except msgspec.MsgspecError as error:
            raise _no_sense() from error

    async def report(self, url: str, token: str, report: Report) -> None:
        """Tell the leader something.

        Raises
        ------
        SwanGpuError
        """
        await self._call("POST", url, token, "/events", msgspec.json.encode(report), REPORT_TIMEOUT_S)

    @staticmethod
    def kernel(fields: Any) -> KernelInfo:
        """A kernel, as `act` answers it."""
        try:
            return msgspec.convert(fields, type=KernelInfo)
        except msgspec.MsgspecError as error:
            raise _no_sense() from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _call(self, method: str, url: str, token: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        import httpx

        from ..client import error_from

        if self._client is None:
            # They are on this machine, under whatever name their certificate has, and behind no proxy.
            self._client = httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            answer = await self._client.request(
                method, url.rstrip("/") + BASE + path, content=body, headers=headers, timeout=timeout
            )
        except (httpx.HTTPError, OSError) as error:
            raise Unavailable(
                "Another server of yours does not answer.", hint="Try again in a moment.", code="server_away"
            ) from error
        if answer.status_code != 200:
            raise error_from(answer.status_code, answer.content)
        return answer.content


def _no_sense() -> SwanGpuError:
    return Unavailable("Another server of yours is of another version.", hint="Restart it.", code="server_differs")
