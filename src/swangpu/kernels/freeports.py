"""Free ports for a kernel behind its agent.

A port that the system picks can be somebody's a moment later: it is of the range from which every outgoing connection
gets its own. Below that range only those come who ask for that very port.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from jupyter_client.connect import LocalPortCache

__all__ = ["free_port"]

LOWEST = 20000
#: where Linux begins to pick ports itself
USUAL_RANGE_START = 32768
RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 20


def free_port(ip: str, range_file: Path = RANGE_FILE) -> int:
    """A port that nobody listens on and no outgoing connection will take.

    Parameters
    ----------
    ip : str
        Where it is to be free.
    """
    end = _range_start(range_file)
    choose = random.SystemRandom()
    for _ in range(TRIES if end > LOWEST else 0):
        port = choose.randrange(LOWEST, end)
        with socket.socket() as probe:
            try:
                probe.bind((ip, port))
            except OSError:
                continue
        return port
    return int(LocalPortCache.instance().find_available_port(ip))


def _range_start(range_file: Path) -> int:
    try:
        return int(range_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return USUAL_RANGE_START
