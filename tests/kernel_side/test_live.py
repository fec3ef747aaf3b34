"""What the live view shows, without a page: the rows, and the stream that feeds them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swangpu.kernel_side.api import events
from swangpu.kernel_side.live import Wanted, subjects

DEVICE: dict[str, Any] = {
    "uuid": "GPU-1",
    "index": 0,
    "name": "NVIDIA A100-SXM4-40GB",
    "memory_bytes": 40_000_000_000,
    "pool": "local",
    "simulated": True,
    "lost": None,
    "mig_devices": [{"uuid": "MIG-1", "profile": "1g.5gb", "memory_bytes": 5_000_000_000}],
}
OTHER = {**DEVICE, "uuid": "GPU-2", "index": 1, "mig_devices": [], "lost": {"text": "It fell off the bus."}}
SESSION = {"id": "s1", "state": "active", "title": "A100 slice, 5 GB", "memory_bytes": 5e9, "simulated": True}


def ids(wanted: Wanted, sessions: list[dict[str, Any]] | None = None) -> list[str]:
    return [row["id"] for row in subjects([SESSION] if sessions is None else sessions, [DEVICE, OTHER], wanted)]


def test_all_of_it_when_nothing_is_named() -> None:
    assert ids(Wanted()) == ["s1", "GPU-1", "MIG-1", "GPU-2"]
    assert Wanted().lists == ["sessions", "devices"]


def test_a_device_brings_its_slices_along_and_a_slice_not_its_device() -> None:
    assert ids(Wanted(devices=["GPU-1"], sessions=[])) == ["GPU-1", "MIG-1"]
    assert ids(Wanted(devices=["MIG-1"], sessions=[])) == ["MIG-1"]
    assert Wanted(devices=["MIG-1"], sessions=[]).lists == ["devices"]


def test_only_sessions_that_have_begun() -> None:
    waiting = {**SESSION, "id": "s2", "state": "queued"}
    assert ids(Wanted(devices=[]), [SESSION, waiting]) == ["s1"]


def test_what_is_simulated_or_lost_says_so() -> None:
    session, device, mig, lost = subjects([SESSION], [DEVICE, OTHER], Wanted())
    assert session["simulated"]
    assert "simulated" in device["detail"]
    assert mig["title"] == "Slice 1 · 1g.5gb"
    assert lost["trouble"] == "It fell off the bus."


def test_names_of_others_can_not_move_the_cursor() -> None:
    row = subjects([{**SESSION, "title": "T4\x1b[2J\nnext"}], [], Wanted())[0]
    assert row["title"].isprintable()


def test_events_are_read_as_the_standard_has_them() -> None:
    lines = ["event: hello", "id: 1", 'data: {"a":', "data:1}", "", ": comment", "", "event: bad", "data: {", ""]
    lines += ["event: heartbeat", "data: {}", "", "event: cut", 'data: {"b": 2}']
    assert list(events(lines)) == [("hello", {"a": 1}), ("heartbeat", {})]


@given(st.lists(st.text(max_size=30)))
def test_nothing_that_a_server_sends_breaks_the_reader(lines: list[str]) -> None:
    for name, content in events(lines):
        assert name
        assert isinstance(content, dict)


def test_a_gpu_of_another_machine_says_whose_and_who_holds_it() -> None:
    pods = {"count": 2, "items": None, "reason": None}
    mig = {"uuid": "GPU-a/1", "profile": "1g.5gb", "memory_bytes": 5, "pods": {**pods, "count": 0}}
    elsewhere = {
        **DEVICE,
        "uuid": "GPU-a",
        "pool": "",
        "remote": {"host": "node-1", "pods": pods},
        "mig_devices": [mig],
    }
    whole, part = subjects([], [elsewhere], Wanted())
    assert whole["title"] == "node-1 · GPU 0"
    assert whole["detail"].endswith("held by 2 pods")
    assert (part["detail"], whole["remote"], part["remote"]) == ("no pod holds it", True, True)
    named = {**elsewhere, "remote": {"host": "", "pods": {**pods, "items": [{"namespace": "swan", "name": "jo"}]}}}
    row = subjects([], [named], Wanted())[0]
    assert (row["title"], row["detail"].split(" · ")[-1]) == ("another machine · GPU 0", "swan/jo")
