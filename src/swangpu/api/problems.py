"""Errors as RFC 9457 problem details: one table from our error tree to HTTP."""

from __future__ import annotations

import re
from http.client import responses
from typing import Any

import msgspec

from .. import errors, wire

__all__ = ["MEDIA_TYPE", "from_http_status", "from_validation", "problem", "status_of"]

MEDIA_TYPE = "application/problem+json"

#: the most special class first
STATUS: tuple[tuple[type[errors.SwanGpuError], int], ...] = (
    (errors.TooLarge, 413),
    (errors.BadInput, 400),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Refused, 422),
    (errors.Unavailable, 503),
    (errors.SwanGpuError, 500),
)

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_MISSING_FIELD = re.compile(r"missing required field `([^`]*)`")
_WHERE = re.compile(r" - at `([^`]*)`")

_HTTP_WORDS = {
    401: ("unauthenticated", "Nobody is logged in.", "Log in, or send a token."),
    403: ("forbidden", "This is not allowed.", "Log in as somebody who may, or send a valid token."),
    404: ("no_such_route", "There is nothing at this address.", "See openapi.json for what there is."),
    405: ("method_not_allowed", "This cannot be done here.", "See openapi.json for what can."),
    413: ("too_large", "The request is too large.", "No request needs more than 64 KiB."),
    415: ("not_json", "The body must be JSON.", "Send Content-Type: application/json."),
}


def status_of(error: errors.SwanGpuError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def problem(error: errors.SwanGpuError) -> wire.Problem:
    """Problem details of an error."""
    status = status_of(error)
    return wire.Problem(
        type=f"urn:swangpu:problem:{error.code}",
        title=responses[status],
        status=status,
        code=error.code,
        detail=error.detail,
        hint=error.hint,
        params={k: _plain(v) for k, v in error.params.items()},
    )


def from_http_status(status: int) -> wire.Problem:
    """Problem details of what tornado or Jupyter refused; their own words may hold too much."""
    code, detail, hint = _HTTP_WORDS.get(status, ("http_error", responses.get(status, "Error"), ""))
    return wire.Problem(
        type=f"urn:swangpu:problem:{code}",
        title=responses.get(status, "Error"),
        status=status,
        code=code,
        detail=detail,
        hint=hint,
        params={},
    )


def from_validation(error: Exception) -> errors.BadInput:
    """A parser's complaint, in words that name the field."""
    text = str(error)
    where = _WHERE.search(text)
    field = where[1].removeprefix("$.").removeprefix("$") if where else ""
    if found := _UNKNOWN_FIELD.search(text):
        name = f"{field}.{found[1]}" if field else found[1]
        return errors.UnknownField(
            f"There is no field {name!r} here.", hint="See openapi.json for the fields.", field=name
        )
    if found := _MISSING_FIELD.search(text):
        return errors.BadInput(f"The field {found[1]!r} is missing.", code="missing_field", field=found[1])
    if isinstance(error, msgspec.ValidationError):
        said = _WHERE.sub("", text)
        detail = f"The field {field!r} is wrong: {said}." if field else f"The request is wrong: {said}."
        return errors.BadInput(detail, hint="See openapi.json for what it may be.", code="bad_field", field=field)
    return errors.BadInput("The body is not JSON.", hint="Send one JSON object.", code="not_json")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
