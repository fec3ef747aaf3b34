"""JSON for what the journal keeps: events, commands, changes and the broker's state.

Every value is a dataclass, written as ``{"type": "ClassName", …}`` with sorted keys, so the same value is the same
text in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import LedgerUnavailable

__all__ = ["decode", "encode"]


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
    """
    fields: Any = msgspec.to_builtins(value)
    return msgspec.json.encode({"type": type(value).__name__, **fields}, order="deterministic").decode()


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
    hint = "It was written by another version of swangpu, or the file is damaged."
    try:
        fields = msgspec.json.decode(text)
        name = fields.pop("type")
        return msgspec.convert(fields, types[name], strict=False)
    except KeyError as error:
        raise LedgerUnavailable(f"The ledger holds an unknown {error}.", hint=hint, code="ledger_unreadable") from error
    except (msgspec.MsgspecError, AttributeError, TypeError) as error:
        raise LedgerUnavailable(
            "The ledger holds an entry that can't be read.", hint=hint, code="ledger_unreadable"
        ) from error
