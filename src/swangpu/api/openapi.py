"""The OpenAPI document, made from the route table and the wire's structs."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from .. import wire
from .inputs import MAX_BODY_BYTES
from .problems import MEDIA_TYPE
from .routes import BASE, ROUTES, Route

__all__ = ["document"]

#: what any call may answer: bad input, nobody, not allowed, too large, not JSON, away
COMMON = (400, 401, 403, 503)

_WORDS = {
    400: "The request is wrong; the problem names the field.",
    401: "Nobody is logged in.",
    403: "Not allowed.",
    404: "No such thing, or not yours.",
    409: "Not in this state.",
    413: f"More than {MAX_BODY_BYTES} bytes.",
    415: "The body is not JSON.",
    422: "Understood, and never possible here.",
    503: "Something that is needed is away; nothing was changed.",
}


@cache
def document(version: str, server_url: str = "/") -> bytes:
    """The document as JSON.

    Parameters
    ----------
    version : str
        Of swangpu.
    server_url : str
        The server's base URL.
    """
    structs = {r.answer for r in ROUTES if r.answer} | {r.body for r in ROUTES if r.body} | {wire.Problem}
    ordered = sorted(structs, key=lambda s: s.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(f"{BASE}{route.path}", {})[route.method.lower()] = _operation(route)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "swangpu",
                "version": version,
                "description": "The GPUs of a site. Times are Unix seconds, sizes are bytes.",
            },
            "servers": [{"url": server_url}],
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "token": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "Authorization",
                        "description": "`token <the server's token>`, or the login cookie with its XSRF token.",
                    }
                },
            },
        }
    )


def _operation(route: Route) -> dict[str, Any]:
    name = re.sub(r"[^a-z]+", "_", f"{route.method.lower()}{route.path.replace('{id}', 'one')}".lower()).strip("_")
    out: dict[str, Any] = {"summary": route.summary, "operationId": name, "parameters": _parameters(route)}
    if route.body is not None:
        out["requestBody"] = {
            "required": False,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    answers: dict[str, Any] = {str(route.success): _success(route)}
    statuses = {*COMMON, *route.refusals}
    if route.method != "GET":
        statuses |= {413, 415}
    for status in sorted(statuses):
        answers[str(status)] = {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": _ref(wire.Problem)}},
        }
    out["responses"] = answers
    return out


def _parameters(route: Route) -> list[dict[str, Any]]:
    out = [
        {"name": p.name, "in": "query", "required": False, "description": p.doc, "schema": p.schema()}
        for p in route.query
    ]
    if "{id}" in route.path:
        out.append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "A session's id.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 64},
            }
        )
    if (route.method, route.path) == ("POST", "/sessions"):
        out.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and body again give the same session.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    return out


def _success(route: Route) -> dict[str, Any]:
    content: dict[str, Any]
    if route.path == "/stream":
        content = {"text/event-stream": {}}
    elif route.answer is None:
        content = {"application/json": {"schema": {"type": "object"}}}
    else:
        content = {"application/json": {"schema": _ref(route.answer)}}
    if route.csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": route.summary, "content": content}


def _ref(struct: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
