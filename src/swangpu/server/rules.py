"""The operator's rules: from settings, as plain as a configuration file has them, to a policy.

Whatever makes no sense is refused at the start, with the setting's name and the place in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..broker.policy import Group, Quota, Reservation
from ..errors import Misconfigured

__all__ = ["READ", "groups_of", "quotas_of", "reservations_of"]

_GROUP = {"weight", "members", "quotas", "idle_pause_s", "idle_release_s"}
_RESERVATION = {"title", "start", "end", "pool", "flavor", "count", "users", "groups"}


def quotas_of(trait: str, given: Mapping[str, Any]) -> tuple[Quota, ...]:
    """Quotas of ``{"a100-*": 4, "*": {"nominal": 2, "borrow": 1}}``; a number is a limit that nobody may pass.

    Raises
    ------
    Misconfigured
    """
    out = []
    for flavor, value in given.items():
        if isinstance(value, Mapping):
            _known(trait, flavor, value, {"nominal", "borrow"})
            borrow = value.get("borrow")
            nominal = _number(trait, f"{flavor}.nominal", value.get("nominal", 0))
            out.append(Quota(flavor, nominal, None if borrow is None else _number(trait, f"{flavor}.borrow", borrow)))
        else:
            out.append(Quota(flavor, _number(trait, flavor, value), 0.0))
    return tuple(out)


def groups_of(trait: str, given: Mapping[str, Any]) -> tuple[Group, ...]:
    """Groups of ``{"atlas": {"weight": 2, "members": ["alice"], "quotas": {"*": {"nominal": 4}}}}``.

    Raises
    ------
    Misconfigured
    """
    out = []
    for name, value in given.items():
        if not isinstance(value, Mapping):
            raise _wrong(trait, name, "is a table with weight, members and quotas")
        _known(trait, name, value, _GROUP)
        weight = _number(trait, f"{name}.weight", value.get("weight", 1.0))
        if weight <= 0:
            raise _wrong(trait, f"{name}.weight", "must be more than nothing")
        limits = {
            key: None if value.get(key) is None else _number(trait, f"{name}.{key}", value[key])
            for key in ("idle_pause_s", "idle_release_s")
        }
        quotas = value.get("quotas", {})
        if not isinstance(quotas, Mapping):
            raise _wrong(trait, f"{name}.quotas", "is a table of flavors")
        out.append(
            Group(
                name,
                weight,
                _names(trait, f"{name}.members", value.get("members", ())),
                quotas_of(trait, quotas),
                **limits,
            )
        )
    return tuple(out)


def reservations_of(trait: str, given: Sequence[Any], default_pool: str = "local") -> tuple[Reservation, ...]:
    """Reservations of ``[{"title": "Tutorial", "start": "2026-12-01T09:00+01:00", "end": …, "flavor": "t4"}]``.

    Without ``users`` and ``groups`` it is for nobody: maintenance. Times without an offset are local ones.

    Raises
    ------
    Misconfigured
    """
    out = []
    for number, value in enumerate(given):
        where = f"[{number}]"
        if not isinstance(value, Mapping):
            raise _wrong(trait, where, "is a table with title, start, end, flavor and count")
        _known(trait, where, value, _RESERVATION)
        start, end = (_time(trait, f"{where}.{key}", value.get(key)) for key in ("start", "end"))
        if end <= start:
            raise _wrong(trait, f"{where}.end", "must be after its start")
        count = value.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise _wrong(trait, f"{where}.count", "must be a number of shares, at least 1")
        if not isinstance(value.get("flavor"), str):
            raise _wrong(trait, f"{where}.flavor", "names what is set aside")
        out.append(
            Reservation(
                id=f"{number}-{start:.0f}",
                title=str(value.get("title", "Reserved")),
                start=start,
                end=end,
                pool=str(value.get("pool", default_pool)),
                flavor=value["flavor"],
                count=count,
                users=_names(trait, f"{where}.users", value.get("users", ())),
                groups=_names(trait, f"{where}.groups", value.get("groups", ())),
            )
        )
    return tuple(out)


def _known(trait: str, where: str, value: Mapping[str, Any], names: set[str]) -> None:
    for key in value:
        if key not in names:
            raise _wrong(trait, f"{where}.{key}", f"is not known; there are {', '.join(sorted(names))}")


def _number(trait: str, where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _wrong(trait, where, "must be a number, at least 0")
    try:
        return float(value)
    except OverflowError:
        raise _wrong(trait, where, "is too large a number") from None


def _names(trait: str, where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise _wrong(trait, where, "must be a list of names")
    return tuple(value)


def _time(trait: str, where: str, value: Any) -> float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return datetime.fromisoformat(str(value)).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise _wrong(trait, where, "must be a time such as 2026-12-01T09:00+01:00") from None


def _wrong(trait: str, where: str, what: str) -> Misconfigured:
    return Misconfigured(f"SwanGpu.{trait}: {where} {what}.", trait=trait)


#: how each setting is read, to be refused when it is set
READ: dict[str, Callable[[str, Any], object]] = {
    "groups": groups_of,
    "user_quotas": quotas_of,
    "reservations": reservations_of,
}
