"""JSON for what the journal keeps: events, commands, changes and the broker's state.

Every value is a dataclass, written as ``{"type": "ClassName", …}`` with sorted keys, so the same value is the same
text in every process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import LedgerUnavailable

__all__ = ["decode", "encode"]

HINT = "It was written by another version of swangpu, or the file is damaged."


def encode(value: object) -> str:
    """JSON text of a dataclass.

    Parameters
    ----------
    value : object
        A dataclass of numbers, strings, enums, tuples, dicts with string keys, None and other dataclasses.

    Returns
    -------
    str
        One line.

    Raises
    ------
    LedgerUnavailable
        It holds infinity or not-a-number, which JSON has no words for.
    """
    fields: Any = msgspec.to_builtins(value)
    name = type(value).__name__
    # The encoder writes infinity as null, and that can't be read again.
    if not _finite(fields):
        raise LedgerUnavailable(
            f"{name} holds a number that is not finite.",
            hint="Look for an infinite limit in the configuration.",
            code="ledger_not_finite",
        )
    return msgspec.json.encode({"type": name, **fields}, order="sorted").decode()


def _finite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if kind is list else True


def decode(text: str, types: Mapping[str, type]) -> Any:
    """The dataclass that `encode` wrote.

    Parameters
    ----------
    text : str
    types : mapping of str to type
        The classes that may be there, by name.

    Raises
    ------
    LedgerUnavailable
        Not something that this version wrote; the sentence says what it is.
    """
    try:
        fields = msgspec.json.decode(text)
        name = fields.pop("type")
        value: Any = msgspec.convert(fields, types[name], strict=False)
    except KeyError as error:
        raise LedgerUnavailable(f"The ledger holds an unknown {error}.", hint=HINT, code="ledger_unreadable") from error
    except (msgspec.MsgspecError, AttributeError, TypeError, RecursionError) as error:
        raise LedgerUnavailable(
            "The ledger holds an entry that can't be read.", hint=HINT, code="ledger_unreadable"
        ) from error
    # msgspec drops fields that it does not know. A newer version's fields would then be gone at the next snapshot.
    if encode(value) != text and (field := _dropped(fields, msgspec.to_builtins(value), name)) is not None:
        raise LedgerUnavailable(f"The ledger holds an unknown field {field}.", hint=HINT, code="ledger_unreadable")
    return value


def _dropped(written: Any, read: Any, where: str) -> str | None:
    """The first field that was written and has not been read; fields may have been added since."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                return f"{where}.{key}"
            if (found := _dropped(value, read[key], f"{where}.{key}")) is not None:
                return found
    elif isinstance(written, list) and isinstance(read, list | tuple):
        for value, other in zip(written, read, strict=False):
            if (found := _dropped(value, other, f"{where}[]")) is not None:
                return found
    return None
