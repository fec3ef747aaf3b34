"""Open event streams, many and cheap: the client side of `../stream_viewers.py`, a process of its own.

It reads raw sockets and looks only for the words that begin an event, so that 500 viewers cost less than what they
look at. Each line on its standard input is answered by one line of JSON: what every viewer has got so far. It ends
with its input.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import sys
import time

PANEL = ("telemetry", "sessions", "pools", "notices")
#: of whoever looks at all devices as well
SITE = ("devices", *PANEL)
#: how the events of each begin; they come as changes where these are less
MARKS = [(topic, f"event: {topic}".encode()) for topic in PANEL] + [
    (topic, f'{{"topic":"{topic}"'.encode()) for topic in PANEL
]
#: what may be cut in two at the end of a packet
TAIL = max(len(mark) for _, mark in MARKS) - 1
TELEMETRY = re.compile(rb'event: (?:telemetry|changes)[^{]*\{[^{]*?"as_of":([0-9.]+)')
#: every so manieth viewer notes how old a reading is when it comes
LISTENS = 25


def request(port: int, token: str, topics: tuple[str, ...], *, changes: bool) -> bytes:
    """What a panel asks for; without ``changes`` every reading comes whole, which is more."""
    lines = [
        f"GET /swangpu/api/v1/stream?topics={','.join(topics)}&changes={str(changes).lower()} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: text/event-stream",
        f"Authorization: token {token}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Viewer(asyncio.Protocol):
    """Counts what it gets."""

    def __init__(self, ask: bytes, delays_s: list[float] | None) -> None:
        self._ask = ask
        self._delays_s = delays_s
        self._tail = b""
        self.received = 0
        self.events = dict.fromkeys(PANEL, 0)
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._ask)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        text = self._tail + data
        for topic, mark in MARKS:
            if mark in text:
                # each mark is longer than what is left of the text before by one byte at least
                fresh = text[max(0, len(self._tail) - len(mark) + 1) :]
                self.events[topic] += fresh.count(mark)
        if self._delays_s is not None:
            now = time.time()
            self._delays_s += [now - float(found) for found in TELEMETRY.findall(data)]
        self._tail = text[-TAIL:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


def stalled(port: int, ask: bytes) -> socket.socket:
    """A viewer that never reads.

    Its buffers and segments are small, or the two kernels would take in megabytes before the server feels anything.
    """
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    line.connect(("127.0.0.1", port))
    line.sendall(ask)
    return line


async def main(port: int, token: str, viewers: int, stalling: int, topics: tuple[str, ...]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, viewers + stalling + 100)), hard))
    loop, ask = asyncio.get_running_loop(), request(port, token, topics, changes=True)
    delays_s: list[float] = []
    open_now: list[Viewer] = []
    for number in range(viewers):
        noted = delays_s if number % LISTENS == 0 else None
        _, viewer = await loop.create_connection(lambda to=noted: Viewer(ask, to), "127.0.0.1", port)
        open_now.append(viewer)
    # whole readings, so that the kernel soon takes no more
    never_read = [stalled(port, request(port, token, SITE, changes=False)) for _ in range(stalling)]
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        used = time.process_time()
        answer = {
            "received": [v.received for v in open_now],
            "events": {topic: [v.events[topic] for v in open_now] for topic in PANEL},
            "closed": sum(v.closed for v in open_now),
            "delays_s": delays_s[:],
            "ports": [line.getsockname()[1] for line in never_read],
            "cpu_s": used,
        }
        delays_s.clear()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), SITE if "site" in sys.argv else PANEL)
    )
