"""The GPUs of your whole site, from inside a Jupyter notebook."""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]
