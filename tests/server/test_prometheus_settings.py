"""Settings of the site's Prometheus that make no sense are refused, by name."""

from __future__ import annotations

from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from swangpu.server.extension import SwanGpu


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"prometheus_url": "ftp://prometheus"}, "SwanGpu.prometheus_url"),
        ({"prometheus_token_file": "/nowhere/at/all"}, "SwanGpu.prometheus_token_file"),
        ({"prometheus_match": {"a b": "c"}}, "SwanGpu.prometheus_match"),
        ({"prometheus_match": {"cluster": "c"}}, "SwanGpu.prometheus_match is set, and SwanGpu.prometheus_url is not"),
    ],
)
def test_a_setting_that_makes_no_sense(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(TraitError, match=said.replace(".", r"\.")):
        SwanGpu(config=Config({"SwanGpu": setting})).initialize_handlers()
