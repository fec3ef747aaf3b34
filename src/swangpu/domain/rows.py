"""Frozen values that differ in some fields."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["replace"]

T = TypeVar("T")


def replace(row: T, **changes: Any) -> T:
    """What `dataclasses.replace` gives for a frozen dataclass without slots, ``__post_init__`` and cached properties.

    A session has some fifty fields, and the broker changes a few of them at each step: not running ``__init__`` again
    makes that some ten times as fast.

    Raises
    ------
    TypeError
        There is no such field.
    """
    fields = row.__dataclass_fields__  # type: ignore[attr-defined]
    for name in changes:
        if name not in fields:
            raise TypeError(f"{type(row).__name__} has no field {name}")
    new: T = object.__new__(type(row))
    values = new.__dict__
    values.update(row.__dict__)
    values.update(changes)
    return new
