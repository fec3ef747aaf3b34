"""Shared by all tests."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["pytest_jupyter.jupyter_server"]

# A shell that starts us in the background ignores SIGINT, and whatever we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
