"""Whose server this is."""

from __future__ import annotations

import getpass
import os

__all__ = ["hub_user", "owner_name"]


def hub_user() -> str:
    """The hub's name for the person whose server this is; empty without a hub."""
    return os.environ.get("JUPYTERHUB_USER", "")


def owner_name() -> str:
    """Whose server this is: the hub's name for the person, else the system's."""
    if hub_user():
        return hub_user()
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
