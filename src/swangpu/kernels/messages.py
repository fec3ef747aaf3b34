"""Jupyter's wire protocol, as much of it as a relay needs: split, verify, sign, make.

The agent loads this: standard library only, and cheap to import.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["DELIMITER", "OURS", "Message", "Scribe", "is_for_nobody"]

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.3"
#: the user's name in what a server asks a kernel past its gate, and nobody else is to hear of
OURS = "swangpu-server"
_OURS = OURS.encode("ascii")


class Message:
    """One message as it went over a socket.

    Parameters
    ----------
    frames : list of bytes
        All of it, identities or topic included.
    start : int
        Where the signature is; identities come before it.
    """

    # no dataclass in what the agent loads: its import alone would cost each start 5 ms
    __slots__ = ("_header", "_parent", "frames", "start")

    def __init__(self, frames: list[bytes], start: int) -> None:
        self.frames = frames
        self.start = start
        self._header: dict[str, Any] | None = None
        self._parent: dict[str, Any] | None = None

    @classmethod
    def parse(cls, frames: list[bytes]) -> Message | None:
        """The message in these frames, or None when they are not one."""
        try:
            start = frames.index(DELIMITER) + 1
        except ValueError:
            return None
        return cls(frames, start) if len(frames) >= start + 5 else None

    @property
    def idents(self) -> list[bytes]:
        return self.frames[: self.start - 1]

    @property
    def client(self) -> bytes:
        return self.frames[0] if self.start > 1 else b""

    @property
    def header(self) -> dict[str, Any]:
        if self._header is None:
            self._header = _as_dict(self.frames[self.start + 1])
        return self._header

    @property
    def parent(self) -> dict[str, Any]:
        if self._parent is None:
            self._parent = _as_dict(self.frames[self.start + 2])
        return self._parent

    @property
    def metadata(self) -> dict[str, Any]:
        return _as_dict(self.frames[self.start + 3])

    @property
    def content(self) -> dict[str, Any]:
        return _as_dict(self.frames[self.start + 4])

    @property
    def type(self) -> str:
        return str(self.header.get("msg_type", ""))

    @property
    def id(self) -> str:
        return str(self.header.get("msg_id", ""))


def is_for_nobody(frames: list[bytes], *, aside: bool, started_anew: bool) -> bool:
    """Whether nobody is to hear what a kernel says: that it is busy with what only the server asks.

    Parameters
    ----------
    frames : list of bytes
    aside : bool
        The kernel waits behind its gate.
    started_anew : bool
        Its process is another one than clients began with: that it starts is no news.
    """
    # Told in part, it would seem busy for ever. The first look, at the parent header, is cheap: all comes by here.
    ours = len(frames) > 2 and _OURS in frames[-3]
    if not ours and not (aside and started_anew):
        return False
    message = Message.parse(frames)
    if message is None or message.type != "status":
        return False
    starts = aside and started_anew and message.content.get("execution_state") == "starting"
    return starts or message.parent.get("username") == OURS


def _as_dict(raw: bytes) -> dict[str, Any]:
    try:
        # told the encoding, it need not guess
        value = json.loads(raw.decode("utf-8", "surrogatepass"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Scribe:
    """Verifies what came and signs what the agent itself says, with the kernel's own key.

    Parameters
    ----------
    key : bytes
        Empty means that messages are not signed (Jupyter's rule).
    scheme : str
        ``hmac-<hash>``, as in the connection file.
    """

    def __init__(self, key: bytes, scheme: str = "hmac-sha256") -> None:
        self._key = key
        self._digest = scheme.partition("-")[2] or "sha256"
        self.session = os.urandom(16).hex()

    def sign(self, parts: Sequence[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.digest(self._key, b"".join(parts), self._digest).hex().encode("ascii")

    def verify(self, message: Message) -> bool:
        """Whether the sender knows the key. Buffers are not signed, by the protocol."""
        start = message.start
        return hmac.compare_digest(message.frames[start], self.sign(message.frames[start + 1 : start + 5]))

    def make(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any] | None = None,
        idents: Sequence[bytes] = (),
    ) -> list[bytes]:
        """All frames of a signed message."""
        now = time.time()
        date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        header = {
            "msg_id": os.urandom(16).hex(),
            "msg_type": msg_type,
            "username": (parent or {}).get("username", ""),
            "session": self.session,
            "date": date,
            "version": PROTOCOL_VERSION,
        }
        parts = [json.dumps(part, default=str).encode() for part in (header, parent or {}, {}, content)]
        return [*idents, DELIMITER, self.sign(parts), *parts]
