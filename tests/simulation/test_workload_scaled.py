"""The benchmark of sharing varies each number of the workload: a site comes of each."""

from __future__ import annotations

from dataclasses import fields

import pytest

from swangpu.simulation.workload import Workload, generate

#: those that are numbers, and the names of those that are pairs of quartiles
NAMES = sorted(
    {
        f.name.removesuffix("_p50_s").removesuffix("_p75_s")
        for f in fields(Workload)
        if isinstance(getattr(Workload(), f.name), int | float)
    }
)


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_people_come_to_a_site_of_which_one_number_is_another(name: str, factor: float) -> None:
    assert "users" in NAMES
    assert generate(Workload().scaled(name, factor), 0.2, 0)
