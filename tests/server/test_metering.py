from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.fleet import GB
from broker.world import World
from broker.world_asks import USERS, random_request
from swangpu.api.views import flavor_view
from swangpu.broker import events as ev
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind
from swangpu.domain.sessions import EndReason, Request, Session, SessionState
from swangpu.domain.telemetry import DeviceInfo, DriverStatus, Sample
from swangpu.server.metering import MAX_FLAVORS, MAX_USERS, OTHER, SiteMeter, Slots, Tally, flavor_counts
from swangpu.telemetry.prometheus import MAX_DEVICES, SiteCounts, families
from swangpu.telemetry.sampler import Snapshot

#: all that a sample can tell of a device
NUMBERS = set(Sample._fields) - {"uuid", "taken_at", "throttle_reasons", "processes", "missing"}


class StateOnly:
    """As much of a runtime as the meter asks for: a state, two clocks, a word after each commit."""

    simulated = False

    def __init__(self, state: BrokerState | None = None) -> None:
        self.broker = self
        self.clock = self
        self.state = state or BrokerState()
        self.at_s = 1000.0
        self.subscribers: list[Callable[[Any], None]] = []

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s

    def subscribe(self, callback: Callable[[Any], None]) -> None:
        self.subscribers.append(callback)

    def pool_as_of(self, pool: str) -> float:
        return 900.0

    def put(self, *sessions: Session) -> None:
        for session in sessions:
            self.state.put_session(session)
        for callback in self.subscribers:
            callback(None)


def share(n: int, flavor: str = "t4") -> Share:
    return Share(f"S-{n}", "local", flavor, ShareKind.WHOLE, f"S-{n}", 16 * GB)


def session(
    name: str, state: SessionState, *, user: str = "alice", flavor: str | None = "t4", **fields: Any
) -> Session:
    request = Request(flavor=flavor, memory_bytes=None if flavor else 5 * GB)
    fields.setdefault("pool", "local")
    return Session(name, user, request, state, fields.pop("created_at", 1000.0), 1, flavor=flavor, **fields)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 60))
def test_every_share_has_one_use_and_it_is_the_panels(seed: int, steps: int) -> None:
    world = World(seed=seed)
    rng = random.Random(seed)
    for _ in range(steps):
        what = rng.randrange(6)
        session_id = rng.choice(world.ids) if world.ids else "none"
        if what == 0:
            world.request(rng.choice(USERS), random_request(rng))
        elif what == 1:
            world.settle()
        elif what == 2:
            world.send(rng.choice([ev.Claimed(session_id), ev.Released(session_id)]))
        elif what == 3:
            world.send(ev.ActivityReported(session_id, rng.random() < 0.5))
        elif what == 4:
            world.advance(rng.choice([1.0, 30.0, 700.0]))
        else:
            world.report_inventory(lost=rng.choice([(), ("T2",)]), taken=rng.choice([(), ("T1",)]))
    state = world.broker.state
    counted = flavor_counts(state, lambda pool, name: (pool, name))
    for inventory in state.pools.values():
        for flavor in inventory.flavors:
            ours, theirs = counted[inventory.pool, flavor.name], flavor_view(state, inventory, flavor)
            for field in ("free", "busy", "held_idle", "taken", "queued"):
                assert getattr(ours, field) == getattr(theirs, field), field
            assert ours.free + ours.busy + ours.held_idle + ours.taken == theirs.total


def test_share_seconds_are_counted_while_held_and_busy() -> None:
    tally, two = Tally(), (share(1), share(2))
    active = session("a", SessionState.ACTIVE, shares=two, ready_at=1000.0)
    tally.look([active], 10.0)
    tally.look([replace(active, busy=True)], 40.0)
    tally.look([replace(active, busy=True)], 100.0)
    tally.look([replace(active, busy=False)], 110.0)
    ended = replace(active, state=SessionState.ENDED, shares=(), end_reason=EndReason.EXPIRED)
    tally.look([ended], 200.0)
    tally.look([ended], 1000.0)
    assert tally.held_s == {("local", "t4"): 2 * 190.0}
    assert tally.busy_s == {("local", "t4"): 2 * 70.0}
    assert tally.user_held_s == {"alice": 2 * 190.0}
    assert tally.ended["expired"] == 1


def test_what_was_before_the_server_is_not_counted() -> None:
    tally = Tally()
    before = session("old", SessionState.ENDED, end_reason=EndReason.RELEASED, ready_at=1000.0)
    tally.look([before], 0.0)
    assert sum(tally.ended.values()) == 0
    assert sum(tally.waits.numbers) == 0


def test_a_wait_is_counted_once_even_when_a_commit_was_undone() -> None:
    tally = Tally()
    queued = session("a", SessionState.QUEUED, pool=None)
    ready = replace(queued, state=SessionState.READY, ready_at=1045.0, shares=(share(1),))
    for step in ([], [queued], [ready], [queued], [ready]):
        tally.look(step, 0.0)
    waits = tally.waits
    assert (sum(waits.numbers), waits.sum_s) == (1, 45.0)
    assert waits.numbers[waits.bounds.index(60.0)] == 1


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 4), st.booleans(), st.floats(0, 100)), max_size=40)
)
def test_counters_never_fall(steps: list[tuple[str, int, bool, float]]) -> None:
    tally, at_s = Tally(), 0.0
    tally._users = Slots(3, OTHER)
    last: dict[str, float] = {}
    for user, number, busy, passed_s in steps:
        shares = tuple(share(n) for n in range(number))
        tally.look([session(user, SessionState.ACTIVE, user=user, shares=shares, busy=busy)], at_s)
        at_s += passed_s
        assert all(tally.user_held_s[name] >= value for name, value in last.items())
        last = dict(tally.user_held_s)
    assert len(last) <= 4
    assert sum(tally.busy_s.values()) <= sum(tally.held_s.values()) + 1e-6


def test_names_are_told_only_when_wanted() -> None:
    runtime = StateOnly()
    plain, named = SiteMeter(runtime), SiteMeter(runtime, user_names=True)  # type: ignore[arg-type]
    runtime.put(session("a", SessionState.ACTIVE, shares=(share(1),)), session("b", SessionState.QUEUED, user="bob"))
    runtime.at_s += 60.0
    assert plain.counts().users == {}
    assert "alice" not in repr(plain.counts())
    assert {name: (u.sessions, u.held_s) for name, u in named.counts().users.items()} == {
        "alice": (1, 60.0),
        "bob": (1, 0.0),
    }


def test_the_queue_and_its_oldest() -> None:
    runtime = StateOnly()
    meter = SiteMeter(runtime)  # type: ignore[arg-type]
    assert meter.counts().oldest_wait_s is None
    runtime.put(
        session("a", SessionState.QUEUED, created_at=940.0), session("b", SessionState.QUEUED, created_at=990.0)
    )
    counts = meter.counts()
    assert (counts.queue_length, counts.oldest_wait_s) == (2, 60.0)
    assert counts.sessions == {"queued": 2, "ready": 0, "active": 0, "paused": 0, "ending": 0}


def huge() -> StateOnly:
    """A site far larger than any: 1,000 flavors in 60 pools, 5,000 people, half of whom wait."""
    runtime = StateOnly()
    names = [f"f{n}" for n in range(1000)]
    flavors = tuple(Flavor(name, name, 16 * GB, ShareKind.WHOLE) for name in names)
    shares = tuple(share(n, name) for n, name in enumerate(names))
    runtime.state.pools["local"] = PoolInventory("local", "Here", True, True, 0.0, shares, flavors)
    for n in range(60):
        runtime.state.pools[f"p{n}"] = PoolInventory(f"p{n}", "There", True, True, 0.0)
    for n in range(5000):
        state = SessionState.ACTIVE if n < 1000 else SessionState.QUEUED
        held = (share(n, names[n]),) if n < 1000 else ()
        runtime.state.put_session(session(f"s{n}", state, user=f"u{n}", flavor=names[n % 1000], shares=held))
    return runtime


@pytest.fixture(scope="module")
def huge_counts() -> SiteCounts:
    runtime = huge()
    meter = SiteMeter(runtime, user_names=True)  # type: ignore[arg-type]
    runtime.at_s += 10.0
    return meter.counts()


def test_a_huge_site_has_a_bounded_page_and_nothing_is_lost(huge_counts: SiteCounts) -> None:
    counts = huge_counts
    assert len(counts.users) == MAX_USERS + 1
    assert len(counts.flavors) == MAX_FLAVORS + 1
    assert sum(u.sessions for u in counts.users.values()) == 5000
    assert sum(u.held_s for u in counts.users.values()) == pytest.approx(10_000.0)
    assert sum(f.held_s for f in counts.flavors.values()) == pytest.approx(10_000.0)
    assert sum(f.held_idle for f in counts.flavors.values()) == 1000
    assert counts.flavors[OTHER, OTHER].queued == 4000 * (1000 - MAX_FLAVORS) // 1000
    full = {f"GPU-{i}": DeviceInfo(f"GPU-{i}", i, "X", 1) for i in range(2 * MAX_DEVICES)}
    read = {u: Sample(u, 1.0, **dict.fromkeys(NUMBERS, 1), throttle_reasons=()) for u in full}
    snapshot = Snapshot(DriverStatus("ok"), full, read, as_of=1.0, number=1)
    assert 12_000 < sum(len(family.samples) for family in families(snapshot, counts, 1.0)) <= 14_000


def test_who_is_called_other_is_counted_with_the_others() -> None:
    runtime = huge()
    runtime.state.sessions = {
        "x": session("x", SessionState.ACTIVE, user=OTHER, shares=(share(9999),)),
        **runtime.state.sessions,
    }
    users = SiteMeter(runtime, user_names=True).counts().users  # type: ignore[arg-type]
    assert sum(u.sessions for u in users.values()) == 5001
    assert len(users) == MAX_USERS


def test_a_scrape_on_another_thread_while_sessions_come_and_go() -> None:
    runtime = huge()
    meter = SiteMeter(runtime, user_names=True)  # type: ignore[arg-type]
    problems: list[BaseException] = []

    def scrape() -> None:
        try:
            for _ in range(3):
                meter.counts()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    n = 0
    while thread.is_alive():
        n += 1
        runtime.state.put_session(session(f"new{n}", SessionState.QUEUED, user=f"v{n}"))
        runtime.state.drop("sessions", f"new{n - 5}")
    thread.join()
    assert not problems
