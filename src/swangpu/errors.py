"""Everything that can go wrong, as one tree.

::

    SwanGpuError                  code, params, detail for the person, hint that helps
    ├── BadInput                  400  the request cannot be understood
    │   ├── UnknownField          400  names the field
    │   └── TooLarge              413  the body is larger than any request needs
    ├── Forbidden                 403  not yours, and not to be seen
    ├── NotFound                  404  no such session, kernel, device
    ├── Conflict                  409  not in this state (already attached, already ended)
    ├── Refused                   422  understood, and never possible here (more than there will ever be)
    ├── Unavailable               503  try again: something we need is away
    │   ├── LedgerUnavailable     503  the journal cannot be written; nothing was changed
    │   └── PoolUnavailable       503  a pool's service or driver does not answer
    └── Misconfigured             500  names the trait; start-up only, never during a request

A code is stable and lower-case; `detail` is one sentence for the person; `hint` says what helps.
One table in ``api/problems.py`` maps these classes to HTTP.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadInput",
    "Conflict",
    "Forbidden",
    "LedgerUnavailable",
    "Misconfigured",
    "NotFound",
    "PoolUnavailable",
    "Refused",
    "SwanGpuError",
    "TooLarge",
    "Unavailable",
    "UnknownField",
]


class SwanGpuError(Exception):
    """Root of the tree.

    Parameters
    ----------
    detail : str
        One sentence for the person. Never holds a secret, a path of the server or a traceback.
    hint : str, optional
        What helps.
    code : str, optional
        Stable, lower-case; overrides the class's own.
    **params
        The values behind the sentence, so that a client can translate it.
    """

    code = "internal"

    def __init__(self, detail: str, *, hint: str = "", code: str | None = None, **params: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if code is not None:
            self.code = code
        self.params: dict[str, Any] = params


class BadInput(SwanGpuError):
    """The request cannot be understood."""

    code = "bad_input"


class UnknownField(BadInput):
    """A field that this version does not know; `params["field"]` names it."""

    code = "unknown_field"


class TooLarge(BadInput):
    """The body is larger than any request needs."""

    code = "too_large"


class Forbidden(SwanGpuError):
    """Not allowed. Says nothing about whether the thing exists."""

    code = "forbidden"


class NotFound(SwanGpuError):
    """No such session, kernel or device, or not one of yours."""

    code = "not_found"


class Conflict(SwanGpuError):
    """The thing is not in a state in which this can be done."""

    code = "conflict"


class Refused(SwanGpuError):
    """Understood, and never possible here, so it is not queued."""

    code = "refused"


class Unavailable(SwanGpuError):
    """Something that is needed is away; the same call may work later."""

    code = "unavailable"


class LedgerUnavailable(Unavailable):
    """The journal cannot be written; nothing was changed."""

    code = "ledger_unavailable"


class PoolUnavailable(Unavailable):
    """A pool's service or driver does not answer."""

    code = "pool_unavailable"


class Misconfigured(SwanGpuError):
    """A setting is wrong; `params["trait"]` names it."""

    code = "misconfigured"
