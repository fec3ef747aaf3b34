"""The suite for a backend from outside, with the least of a harness."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.suite import BackendContract, Harness
from swangpu.backends import load_backend
from swangpu.ports import Backend

EXAMPLE = Path(__file__).parents[1] / "backends" / "example"


class ExampleHarness(Harness):
    def __init__(self) -> None:
        self.service = load_backend("example")()

    def backend(self) -> Backend:
        return self.service

    def working(self) -> set[str]:
        return set(self.service.running)

    def vanish(self, session_id: str) -> None:
        self.service.running.discard(session_id)

    def down(self) -> None:
        self.service.up = False

    def up(self) -> None:
        self.service.up = True


class TestExample(BackendContract):
    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch) -> Harness:
        monkeypatch.syspath_prepend(EXAMPLE)
        return ExampleHarness()
