"""What people read is true of what there is."""

from __future__ import annotations

from swangpu.api.views import Known, pool_view
from swangpu.broker.state import BrokerState
from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind

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
