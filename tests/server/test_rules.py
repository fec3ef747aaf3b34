"""The operator's rules as a configuration file has them; what makes no sense names the place."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from traitlets import TraitError

from swangpu.broker.policy import Quota, Reclaim
from swangpu.errors import Misconfigured
from swangpu.server.extension import SwanGpu
from swangpu.server.making import reclaim_of
from swangpu.server.rules import groups_of, quotas_of, reservations_of


def test_a_number_is_a_limit_and_a_table_can_be_borrowed_over() -> None:
    assert quotas_of("user_quotas", {"a100-*": 2, "*": {"nominal": 1.5}}) == (
        Quota("a100-*", 2.0, 0.0),
        Quota("*", 1.5, None),
    )


def test_groups_have_weights_members_and_quotas() -> None:
    (atlas,) = groups_of(
        "groups", {"atlas": {"weight": 2, "members": ["alice"], "quotas": {"t4": 3}, "idle_pause_s": 9}}
    )
    assert (atlas.name, atlas.weight, atlas.members, atlas.idle_pause_s) == ("atlas", 2.0, ("alice",), 9.0)
    assert atlas.quotas == (Quota("t4", 3.0, 0.0),)


def test_a_reservation_has_times_with_their_offset() -> None:
    (one,) = reservations_of(
        "reservations",
        [
            {
                "title": "School",
                "start": "2026-12-01T09:00+01:00",
                "end": "2026-12-01T17:00+01:00",
                "flavor": "t4",
                "count": 2,
            }
        ],
    )
    assert one.start == datetime(2026, 12, 1, 8, tzinfo=timezone.utc).timestamp()
    assert one.end - one.start == 8 * 3600
    assert (one.users, one.groups) == ((), ()), "for nobody: maintenance"


@pytest.mark.parametrize(
    ("trait", "value", "named"),
    [
        ("user_quotas", {"t4": -1}, "t4"),
        ("user_quotas", {"t4": {"nominal": 1, "lend": 2}}, "t4.lend"),
        ("user_quotas", {"t4": "many"}, "t4"),
        ("user_quotas", {"t4": True}, "t4"),
        ("user_quotas", {"t4": float("nan")}, "t4"),
        ("user_quotas", {"t4": 10**400}, "t4"),
        ("groups", {"atlas": 3}, "atlas"),
        ("groups", {"atlas": {"weight": 0}}, "atlas.weight"),
        ("groups", {"atlas": {"members": "alice"}}, "atlas.members"),
        ("groups", {"atlas": {"quota": {}}}, "atlas.quota"),
        ("reservations", [{"start": 1, "end": 2}], "[0].flavor"),
        ("reservations", [{"start": 2, "end": 1, "flavor": "t4"}], "[0].end"),
        ("reservations", [{"start": "soon", "end": 1, "flavor": "t4"}], "[0].start"),
        ("reservations", [{"start": 1, "end": 2, "flavor": "t4", "count": 0}], "[0].count"),
        ("reservations", [{"start": "0001-01-01T00:00+14:00", "end": 2, "flavor": "t4"}], "[0].start"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(trait: str, value: Any, named: str) -> None:
    with pytest.raises(TraitError) as raised:
        SwanGpu(**{trait: value})
    assert f"SwanGpu.{trait}: {named} " in str(raised.value)


def test_times_are_numbers_of_seconds() -> None:
    for name in ("idle_pause_s", "idle_release_s", "idle_grace_s", "quota_notice_s", "half_life_s"):
        with pytest.raises(TraitError):
            SwanGpu(**{name: -1.0})


def test_warnings_are_times_before_the_end_the_earliest_first() -> None:
    assert SwanGpu(warn_s=[60.0, 900.0]).warn_s == [900.0, 60.0]
    assert SwanGpu(warn_s=[]).warn_s == [], "nobody is warned"
    for wrong in (0.0, "soon", float("nan")):
        with pytest.raises(TraitError, match="warn_s"):
            SwanGpu(warn_s=[600.0, wrong])


def test_an_error_of_the_rules_is_of_our_tree() -> None:
    with pytest.raises(Misconfigured):
        quotas_of("user_quotas", {"t4": None})


def test_only_ways_of_pausing_that_there_are_in_the_order_that_is_given() -> None:
    assert SwanGpu().pause_methods == ["offload", "checkpoint"]
    assert reclaim_of(SwanGpu(pause_methods=["carry"])).methods == ("carry",)
    assert reclaim_of(SwanGpu(pause_methods=["checkpoint", "offload"])).methods == ("checkpoint", "offload")
    with pytest.raises(TraitError, match="'magic' is none of offload, carry, checkpoint"):
        SwanGpu(pause_methods=["magic"])


def test_an_idle_session_is_paused_when_the_broker_would_by_itself() -> None:
    """The setting's default is written out: to read it from the broker would load that at each start."""
    assert SwanGpu().idle_pause_s == Reclaim.idle_pause_s
