"""The end of a lease under ``swangpu run``: carried on while nobody waits, and ended in order when somebody does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from swangpu.commands.run import Lease

PATIENT = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


class Holding:
    """A session as the server would show it, one look after the other; the last one stays."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self.looks = list(looks)

    def refresh(self) -> dict[str, Any]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {"id": "s1", "pool": "local", "flavor": "t4", "title": "T4", "end_reason": None, "actions": [], **look}


class Site:
    def __init__(self, queued: int) -> None:
        self.queued = queued
        self.extended: list[float] = []
        self.asked = threading.Event()

    def pools(self) -> list[dict[str, Any]]:
        return [{"name": "local", "flavors": [{"name": "t4", "queued": self.queued}]}]

    def extend(self, session_id: str, seconds: float) -> None:
        self.extended.append(seconds)
        self.asked.set()


def active(left_s: float) -> dict[str, Any]:
    return {"state": "active", "lease_until": time.time() + left_s}


ENDED = {"state": "ended", "end_reason": "expired", "lease_until": None}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "EVERY_S", 0.01)
    monkeypatch.setattr(Lease, "GRACE_S", 0.5)


def test_a_lease_goes_on_while_nobody_waits() -> None:
    site = Site(queued=0)
    lease = Lease(site, Holding(active(3600), active(60), active(1800)), quiet=True)  # type: ignore[arg-type]
    lease.watch(0)
    assert site.asked.wait(20)
    lease.done()
    assert site.extended == [Lease.MORE_S]


def test_where_others_wait_it_ends_and_the_command_is_asked_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    site = Site(queued=1)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as command:
        lease = Lease(site, Holding(active(60), active(30), ENDED), quiet=False)  # type: ignore[arg-type]
        lease.watch(command.pid)
        assert command.wait(20) == -15
        lease.done()
    assert site.extended == []
    said = capfd.readouterr().err
    assert said.count("others wait for this GPU") == 1
    assert "The command is asked to end." in said


def test_a_command_that_does_not_listen_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        command.stdout.readline()
        lease = Lease(Site(queued=1), Holding(ENDED), quiet=True)  # type: ignore[arg-type]
        lease.watch(command.pid)
        assert command.wait(20) == -9
        lease.done()
