"""From what comes over the wire to what the core takes; everything wrong is said by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .. import wire
from ..domain.sessions import Carry, Priority, Request, SessionKind
from ..errors import BadInput, UnknownField
from .problems import from_validation

__all__ = ["MAX_BODY_BYTES", "Parameter", "idempotency_key", "parse_body", "parse_query", "request_of"]

MAX_BODY_BYTES = 65_536

#: parameters that Jupyter or a browser adds
FOREIGN = frozenset({"token", "_xsrf", "_"})

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Parameter:
    """A query parameter: its type, bounds and meaning."""

    name: str
    kind: type
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        names = {float: "number", int: "integer", str: "string"}
        out: dict[str, Any] = {"type": names[self.kind]}
        if self.minimum is not None:
            out["minimum"] = self.minimum
        if self.maximum is not None:
            out["maximum"] = self.maximum
        if self.choices:
            out["enum"] = list(self.choices)
        if self.kind is str and not self.choices:
            out["maxLength"] = 4096
        return out

    def parse(self, text: str) -> Any:
        """The value.

        Raises
        ------
        BadInput
            Names the parameter.
        """
        try:
            value: Any = text if self.kind is str else self.kind(text)
        except ValueError:
            raise self._wrong("is not a number") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong("is not a number")
        if self.minimum is not None and value < self.minimum:
            raise self._wrong(f"is less than {self.minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise self._wrong(f"is more than {self.maximum:g}")
        if self.choices and value not in self.choices:
            raise self._wrong(f"is none of {', '.join(self.choices)}")
        if isinstance(value, str) and len(value) > 4096:
            raise self._wrong("is too long")
        return value

    def _wrong(self, what: str) -> BadInput:
        return BadInput(f"The parameter {self.name!r} {what}.", hint=self.doc, code="bad_parameter", field=self.name)


def parse_query(parameters: Sequence[Parameter], arguments: Mapping[str, list[bytes]]) -> dict[str, Any]:
    """The parameters of a request, each at most once, none unknown."""
    known = {p.name: p for p in parameters}
    out: dict[str, Any] = {}
    for name, values in arguments.items():
        if name in FOREIGN:
            continue
        if name not in known:
            raise UnknownField(
                f"There is no parameter {name[:100]!r} here.", hint="See openapi.json.", field=name[:100]
            )
        if len(values) != 1:
            raise BadInput(f"The parameter {name!r} comes {len(values)} times.", code="bad_parameter", field=name)
        try:
            text = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"The parameter {name!r} is not UTF-8.", code="bad_parameter", field=name) from None
        if text != "":
            out[name] = known[name].parse(text)
    return out


def parse_body(kind: type[msgspec.Struct], body: bytes) -> Any:
    """The body as a struct; an empty one as an empty object."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise from_validation(error) from error


def request_of(body: wire.SessionRequest, default_duration_s: float) -> Request:
    """The core's request.

    Raises
    ------
    BadInput
        Both or neither of flavor and memory; an attach that names both or neither of path and kernel.
    """
    if (body.flavor is None) == (body.memory_bytes is None):
        raise BadInput(
            "Ask for a flavor or for memory, one of the two.",
            hint='For example {"memory_bytes": 10e9}, or a flavor from /offers.',
            code="flavor_or_memory",
        )
    if body.attach is not None:
        check_attach(body.attach)
    return Request(
        kind=SessionKind(body.kind),
        flavor=body.flavor,
        memory_bytes=math.ceil(body.memory_bytes) if body.memory_bytes is not None else None,
        count=body.count,
        duration_s=body.duration_s if body.duration_s is not None else default_duration_s,
        pools=tuple(dict.fromkeys(body.pools)),
        project=body.project,
        purpose=body.purpose,
        attach_path=body.attach.path if body.attach else None,
        attach_kernel_id=body.attach.kernel_id if body.attach else None,
        carry=Carry(body.attach.carry) if body.attach else Carry.NONE,
        on_ready=body.on_ready,
        options=tuple(sorted(body.options.items())),
        priority=Priority(body.priority) if body.priority is not None else None,
    )


def check_attach(attach: wire.Attach) -> None:
    """One of path and kernel id."""
    if (attach.path is None) == (attach.kernel_id is None):
        raise BadInput(
            "Name the notebook's path or the kernel's id, one of the two.",
            hint='For example {"path": "fit.ipynb"}.',
            code="path_or_kernel",
        )


def idempotency_key(header: str | None) -> str | None:
    """The Idempotency-Key header, 1 to 255 visible ASCII characters."""
    if header is None:
        return None
    if _KEY.fullmatch(header) is None:
        raise BadInput(
            "The Idempotency-Key must be 1 to 255 visible ASCII characters.",
            hint="A UUID will do.",
            code="bad_idempotency_key",
        )
    return header
