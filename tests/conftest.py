"""Shared by all tests."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# How long an example takes depends on what else the machine does.
settings.register_profile("swangpu", deadline=None)
settings.load_profile("swangpu")

pytest_plugins = ["pytest_jupyter.jupyter_server"]

# A shell that starts us in the background ignores SIGINT, and whatever we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, so that no process is still at one when the others have nothing left."""
    items.sort(key=lambda item: not {"binder", "system", "test_machine.py"}.intersection(item.path.parts))
