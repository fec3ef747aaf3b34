"""Several servers of one user on one machine: one of them decides, and another takes over when it dies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from server_process import ServerProcess, eventually

WHOLE = {"flavor": "a100-40gb", "kind": "job"}


@pytest.fixture
def pair(tmp_path: Path):  # type: ignore[no-untyped-def]
    first, second = ServerProcess(tmp_path), ServerProcess(tmp_path)
    first.start()
    first.call("GET", "/sessions")
    second.start()
    yield first, second
    second.stop()
    first.stop()


def test_one_share_is_never_given_by_two(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    one = first.call("POST", "/sessions", WHOLE)
    other = second.call("POST", "/sessions", WHOLE)
    assert (one.status_code, other.status_code) == (201, 201)
    assert other.headers["Location"].endswith(other.json()["id"])
    assert sorted([one.json()["state"], other.json()["state"]]) == ["queued", "ready"]
    assert [s["id"] for s in second.call("GET", "/sessions").json()["items"]] == [one.json()["id"], other.json()["id"]]
    assert second.call("GET", "/sessions/nobody").json()["code"] == "no_such_session"
    stream = second.call("GET", "/stream", params={"limit": "3"})
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert "event: sessions" in stream.text


def test_the_second_takes_over_when_the_first_dies(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    held = first.call("POST", "/sessions", WHOLE).json()
    waiting = second.call("POST", "/sessions", WHOLE).json()
    first.kill()
    begin = time.monotonic()

    def known() -> bool:
        answer = second.call("GET", "/sessions")
        return answer.status_code == 200 and [s["id"] for s in answer.json()["items"]] == [held["id"], waiting["id"]]

    eventually(known, 10)
    assert time.monotonic() - begin < 5, "it took more than 5 s to take over"
    states = {s["id"]: s["state"] for s in second.call("GET", "/sessions").json()["items"]}
    assert states == {held["id"]: "ready", waiting["id"]: "queued"}
    second.check_log()


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    first = ServerProcess(tmp_path).start()
    held = first.call("POST", "/sessions", WHOLE).json()
    active = first.call("POST", f"/sessions/{held['id']}/claim").json()
    waiting = first.call("POST", "/sessions", WHOLE).json()
    first.kill()
    again = ServerProcess(tmp_path).start()
    try:
        found = {s["id"]: s for s in again.call("GET", "/sessions").json()["items"]}
        assert found[held["id"]]["state"] == "active"
        assert found[held["id"]]["shares"] == active["shares"]
        assert found[held["id"]]["lease_until"] == active["lease_until"]
        assert found[waiting["id"]]["queue_position"] == 1
    finally:
        again.stop()
