"""The broker is broken on purpose, and the state machine of `broker.machine` has to notice."""

from __future__ import annotations

import pytest
from hypothesis import seed
from hypothesis.stateful import RuleBasedStateMachine

from broker.machine import Machine, Moving, run
from swangpu.broker import broker as broker_module
from swangpu.broker import (
    due,
    exclusion,
    heard,
    hostroom,
    lifecycle,
    pausing,
    placement,
    pools,
    queue,
    reclaim,
    residents,
)
from swangpu.broker import index as index_module
from swangpu.domain.rows import replace


def _break_placement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole device no longer excludes its slices."""
    for module in (exclusion, index_module, placement, queue, reclaim):
        monkeypatch.setattr(module, "conflict", lambda a, b: a.id == b.id)


def _break_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that has run out is not noticed."""
    monkeypatch.setattr(due, "_expire", lambda state, session, now: [])


def _break_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are let go when the release is asked for, not when the stop is confirmed."""

    def begin_end(state, session, why, now, *, reason=None, undo=False):  # type: ignore[no-untyped-def]
        lifecycle.finish(state, replace(session, end_reason=why), now)
        return [lifecycle.StopWork(session.id)]

    monkeypatch.setattr(broker_module, "begin_end", begin_end)


def _break_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confirmed stop does not let go of the shares."""
    monkeypatch.setattr(heard, "finish", lambda state, session, now: [])


def _break_pausing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are given away when a pause is asked for, not when what was on them is safe."""
    begin = pausing.begin

    def hasty(state, session, why, now, stays_bytes=0):  # type: ignore[no-untyped-def]
        out = begin(state, session, why, now, stays_bytes)
        state.put_session(lifecycle.let_go(state, state.sessions[session.id], now))
        return out

    monkeypatch.setattr(pausing, "begin", hasty)


def _break_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are not looked at."""
    monkeypatch.setattr(queue, "over", lambda state, session, flavor, fraction: None)


def _break_reservation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease goes on into a reservation."""
    for module in (broker_module, due, lifecycle, pausing, pools):
        monkeypatch.setattr(module, "capped", lambda state, session, now: session)


def _break_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is paused may take all that is for all of them."""
    monkeypatch.setattr(hostroom, "room_for", lambda state, session: state.policy.paused_memory_bytes)


def _break_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to come back to its own device comes back on any of its flavor."""
    for module in (queue, reclaim):
        monkeypatch.setattr(module, "tied_to", lambda session: None)


def _break_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has stayed on a device is not looked at when somebody gets that."""
    monkeypatch.setattr(queue, "fits", lambda state, session, share, through=(): True)


def _break_moving_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has stayed counts as gone when it is told to go, not when it is known to be."""
    beside = residents.beside

    def hasty(state, session, share):  # type: ignore[no-untyped-def]
        return [one for one in beside(state, session, share) if not residents.is_leaving(one)]

    monkeypatch.setattr(residents, "beside", hasty)


MUTATIONS = [
    _break_placement,
    _break_expiry,
    _break_release,
    _break_finish,
    _break_pausing,
    _break_quota,
    _break_reservation,
    _break_host_memory,
    _break_coming_back,
    _break_device_memory,
    _break_moving_out,
]


#: what only a machine finds soon that moves sessions about most of the time
OF_MOVES = (_break_host_memory, _break_coming_back, _break_device_memory, _break_moving_out)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutate", MUTATIONS)
def test_the_machine_finds_a_broken_broker(mutate, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        search(Moving if mutate in OF_MOVES else Machine)


def search(kind: type[RuleBasedStateMachine]) -> None:
    """Begin anew again and again: one run stays with what it has found interesting.

    Each with a seed of its own, or all would be the same where hypothesis is told to draw nothing at random.
    """
    for number in range(20):
        run(20, shrink=False, kind=seed(number)(type(kind.__name__, (kind,), {})))
