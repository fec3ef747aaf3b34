"""Waits for kernels."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["wait_until_ready"]


def wait_until_ready(client: Any, timeout_s: float = 60.0) -> None:
    """Until a kernel answers.

    ``client.wait_for_ready`` gives a kernel up whose heartbeat is late by a second, as it is on a machine that has much
    to do.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            client.wait_for_ready(max(1.0, end - time.monotonic()))
            return
        except RuntimeError:
            if time.monotonic() > end:
                raise
