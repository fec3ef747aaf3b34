"""What people read is true of what there is."""

from __future__ import annotations

import time

from broker.desk import Desk
from swangpu.api.views import Known, pool_view, session_view
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reservation
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind
from swangpu.domain.rows import replace
from swangpu.domain.sessions import SessionState
from swangpu.wire import Ends

AWAY = PoolInventory(
    "local", "This machine", True, False, 0.0, reason_code="x", reason_text="No driver.", hint="Load it."
)
T4 = Share("S-1", "site", "t4", ShareKind.WHOLE, "S-1", 16 * 10**9)
SITE = PoolInventory("site", "Site", True, True, 0.0, (T4,), (Flavor("t4", "T4 whole", 16 * 10**9, ShareKind.WHOLE),))


def hint(*pools: PoolInventory) -> str | None:
    state = BrokerState()
    for pool in pools:
        state.pools[pool.pool] = pool
    return pool_view(state, AWAY, Known(now=0.0)).hint


def test_other_pools_are_mentioned_where_there_are_some() -> None:
    assert hint(AWAY) == "Load it."
    assert hint(AWAY, PoolInventory("site", "Site", True, True, 0.0)) == "Load it."
    assert hint(AWAY, SITE) == "Other pools work. Load it."


def test_what_a_lease_is_cut_for_is_said_by_its_title() -> None:
    desk = Desk()
    school = Reservation("r", "GPU school", desk.now + 600.0, desk.now + 900.0, "local", "t4", 2)
    desk.send(ev.Configured(Policy(version=2, reservations=(school,))))
    session = desk[desk.get(duration_s=3600.0)]
    seen = session_view(desk.broker.state, session, Known(now=desk.now), for_owner=True)
    assert seen.ends == Ends(at=desk.now + 600.0, cause="reservation", title="GPU school")


def test_an_idle_session_that_is_wanted_says_when_it_goes_back() -> None:
    desk = Desk()
    idle = replace(desk[desk.get()], idle_since=desk.now - 1800.0, idle_ends_at=desk.now + 300.0)
    seen = session_view(desk.broker.state, idle, Known(now=desk.now), for_owner=True)
    assert seen.warning is not None
    at = time.strftime("%H:%M", time.localtime(desk.now + 300.0))
    assert seen.warning.text == f"T4 has been idle for 30 min, and somebody waits for it. It goes back at {at}."
    assert seen.warning.params["ends_at"] == desk.now + 300.0, "the panel says it by the clock of the page"
    assert seen.ends == Ends(at=desk.now + 300.0, cause="idle", title=None)


def test_of_what_goes_back_it_is_not_said_any_more_that_it_will() -> None:
    desk = Desk()
    idle = replace(desk[desk.get()], idle_since=desk.now, idle_ends_at=desk.now + 300.0)
    for session, code in ((idle, "idle_ends"), (replace(idle, state=SessionState.ENDING), None)):
        warning = session_view(desk.broker.state, session, Known(now=desk.now), for_owner=True).warning
        assert (warning.code if warning is not None else None) == code
