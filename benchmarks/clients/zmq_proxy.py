"""The least that any relay of a kernel's messages costs: libzmq's own proxy, in C, a thread for each channel.

``python zmq_proxy.py OUTER INNER``: two connection files; nothing is looked at, and nothing is kept.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import zmq


def url(info: dict[str, Any], channel: str) -> str:
    return f"tcp://{info['ip']}:{info[f'{channel}_port']}"


def main() -> None:
    outer, inner = (json.loads(Path(path).read_text()) for path in sys.argv[1:3])
    context = zmq.Context()
    threads = []
    for channel in ("shell", "control", "stdin", "iopub", "hb"):
        front = context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
        back = context.socket(zmq.XSUB if channel == "iopub" else zmq.DEALER)
        if channel in ("shell", "stdin"):
            back.setsockopt(zmq.IDENTITY, b"relayed")
        front.bind(url(outer, channel))
        back.connect(url(inner, channel))
        threads.append(threading.Thread(target=zmq.proxy, args=(front, back), daemon=True))
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    threads[0].join()


if __name__ == "__main__":
    main()
