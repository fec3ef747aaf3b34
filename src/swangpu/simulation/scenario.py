"""A scenario as an operator writes it: what people do, what there is, which schemes are compared.

Every key that is not known, and every value that makes no sense, is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import BadInput
from .fleet_size import Target
from .schemes import SCHEMES
from .site import CUTS, Faults, Site
from .workload import GB, Workload

__all__ = ["Scenario", "parse"]


@dataclass(frozen=True)
class Scenario:
    """What is to be simulated.

    Attributes
    ----------
    devices : mapping or None
        The fleet; None: for each scheme the smallest that meets the target is looked for.
    ledger : str or None
        A ledger's file: its people come instead of made-up ones.
    """

    title: str = "Simulation"
    days: float = 2.0
    seed: int = 0
    schemes: tuple[str, ...] = ("A", "E1")
    workload: Workload = field(default_factory=Workload)
    site: Site = field(default_factory=Site)
    devices: Mapping[str, int] | None = None
    target: Target = field(default_factory=Target)
    ledger: str | None = None


_TOP = ("title", "days", "seed", "schemes", "ledger")
#: keys in units that people think in, and what they are inside
_SITE = {
    "bandwidth_gb_s": ("bandwidth_bytes_s", GB),
    "host_gb": ("host_bytes", GB),
    "context_gb": ("context_bytes", GB),
}
_SITE_PLAIN = ("start_s", "stop_s", "offload_s", "carry_s", "restart_s", "checkpoint_s", "untouched_anywhere")
_PAIRS = {"memory_gb", "groups"}


def parse(text: Mapping[str, Any]) -> Scenario:
    """A scenario from what a TOML file holds.

    Raises
    ------
    BadInput
        ``params["key"]`` names what is wrong.
    """
    sections = ("workload", "site", "faults", "target", "devices")
    for key in text:
        if key not in (*_TOP, *sections):
            raise _bad(key, "is not known", f"Known: {', '.join((*_TOP, *(f'[{s}]' for s in sections)))}.")
    tables = {name: _table(text, name) for name in sections}
    plain = {k: text[k] for k in _TOP if k in text}
    days = _number("days", plain.get("days", 2.0))
    if not 0 < days <= 366:
        raise _bad("days", "is from more than 0 to 366")
    site = _site(tables["site"])
    return Scenario(
        title=_word("title", plain.get("title", "Simulation")),
        days=days,
        seed=_whole("seed", plain.get("seed", 0)),
        schemes=_schemes(plain.get("schemes", ["A", "E1"])),
        workload=_workload(tables["workload"]),
        site=replace(site, faults=_numbers("faults", tables["faults"], Faults())) if tables["faults"] else site,
        devices=_devices(tables["devices"]) if "devices" in text else None,
        target=_numbers("target", tables["target"], Target()),
        ledger=_word("ledger", plain["ledger"]) if "ledger" in plain else None,
    )


def _bad(key: str, what: str, hint: str = "") -> BadInput:
    return BadInput(f"In the scenario, {key} {what}.", hint=hint, code="bad_scenario", key=key)


def _table(text: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = text.get(name, {})
    if not isinstance(found, Mapping):
        raise _bad(name, "is a table", f"Write [{name}] on a line of its own, and its keys below.")
    return found


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise _bad(key, "is a number of 0 or more")
    return float(value)


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(key, "is a whole number of 0 or more")
    return value


def _word(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(key, "is text in quotes")
    return value


def _schemes(value: object) -> tuple[str, ...]:
    known = ", ".join(SCHEMES)
    if not isinstance(value, list) or not value:
        raise _bad("schemes", "is a list", f"Of these: {known}.")
    for name in value:
        if name not in SCHEMES:
            raise _bad("schemes", f"names {name!r}, which is none", f"There are {known}.")
    return tuple(dict.fromkeys(value))


def _numbers(section: str, table: Mapping[str, Any], default: Any) -> Any:
    known = {f.name for f in fields(default)}
    out = {}
    for key, value in table.items():
        if key not in known:
            raise _bad(f"{section}.{key}", "is not known", f"Known: {', '.join(sorted(known))}.")
        out[key] = _number(f"{section}.{key}", value)
    return replace(default, **out)


def _workload(table: Mapping[str, Any]) -> Workload:
    default = Workload()
    known = {f.name: getattr(default, f.name) for f in fields(Workload)}
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = f"workload.{key}"
        if key not in known:
            raise _bad(name, "is not known", f"Known: {', '.join(known)}.")
        if key in _PAIRS:
            out[key] = _pairs(name, value, float if key == "memory_gb" else str)
        elif key == "used_part":
            if not isinstance(value, list) or len(value) != 2:
                raise _bad(name, "is a list of two parts from 0 to 1")
            out[key] = (_part(name, value[0]), _part(name, value[1]))
        elif key.endswith("_part"):
            out[key] = _part(name, value)
        elif isinstance(known[key], int):
            out[key] = max(1, _whole(name, value))
        else:
            out[key] = _number(name, value)
            if out[key] == 0 and key != "arrivals_per_hour":
                raise _bad(name, "is more than 0")
    made = replace(default, **out)
    for kind in ("cell", "cpu", "gap"):
        if getattr(made, f"{kind}_p75_s") <= getattr(made, f"{kind}_p50_s"):
            raise _bad(f"workload.{kind}_p75_s", f"is longer than workload.{kind}_p50_s")
    if made.cells_mean < 1:
        raise _bad("workload.cells_mean", "is 1 or more")
    return made


def _part(key: str, value: object) -> float:
    number = _number(key, value)
    if number > 1:
        raise _bad(key, "is a part from 0 to 1")
    return number


def _pairs(key: str, value: object, first: type) -> tuple[tuple[Any, float], ...]:
    """Names, or gigabytes, and the part that each has."""
    if not isinstance(value, Mapping) or not value:
        raise _bad(key, "is a table", 'Such as { "10" = 0.7, "40" = 0.3 }.')
    out = []
    for name, part in value.items():
        try:
            made = first(name)
        except ValueError:
            raise _bad(f"{key}.{name}", "is a number of gigabytes") from None
        out.append((made, _number(f"{key}.{name}", part)))
    largest = CUTS["whole"].memory_bytes / GB
    if first is float and any(not 0 < size <= largest for size, _ in out):
        raise _bad(key, f"names more than a device has, which is {largest:.0f} GB, or nothing")
    if not sum(part for _, part in out) > 0:
        raise _bad(key, "gives a part to nobody")
    return tuple(sorted(out))


def _site(table: Mapping[str, Any]) -> Site:
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = f"site.{key}"
        if key in _SITE:
            inner, unit = _SITE[key]
            number = _number(name, value)
            if inner == "bandwidth_bytes_s" and number == 0:
                raise _bad(name, "is more than 0")
            out[inner] = number * unit if inner == "bandwidth_bytes_s" else int(number * unit)
        elif key == "untouched_anywhere":
            if not isinstance(value, bool):
                raise _bad(name, "is true or false")
            out[key] = value
        elif key in _SITE_PLAIN:
            out[key] = _number(name, value)
        else:
            raise _bad(name, "is not known", f"Known: {', '.join((*_SITE, *_SITE_PLAIN))}.")
    return replace(Site(), **out)


def _devices(table: Mapping[str, Any]) -> dict[str, int]:
    out = {}
    for key, value in table.items():
        if key not in CUTS:
            raise _bad(f"devices.{key}", "is not known", f"Known: {', '.join(CUTS)}.")
        out[key] = _whole(f"devices.{key}", value)
    if not any(out.values()):
        raise _bad("devices", "has no device at all")
    return out
