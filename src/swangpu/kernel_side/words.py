"""Numbers, times and states in plain words: the same in ``%gpu``, the command line and the panel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

__all__ = ["clean", "clock", "duration", "ending", "memory", "ordinal", "place", "state", "title", "waiting"]

Json = Mapping[str, Any]


def clean(value: object, limit: int = 300) -> str:
    """One line of printable text: names come from others, and must not move a terminal's cursor or its colours."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def memory(size_bytes: float | None) -> str:
    """``10 GB``, ``4.8 GB``, ``500 MB``; GB are 10**9."""
    if size_bytes is None:
        return "not known"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            number = size_bytes / factor
            return f"{number:.0f} {unit}" if number >= 9.95 or number == int(number) else f"{number:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """``45 s``, ``14 min``, ``1 h 30 min``, ``3 days``."""
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def clock(at: float, now: float | None = None) -> str:
    """Local time: ``18:10``, with the day when that is not today."""
    there = time.localtime(at)
    today = time.localtime(time.time() if now is None else now)
    same_day = there[:3] == today[:3]
    return time.strftime("%H:%M" if same_day else "%a %d %b, %H:%M", there)


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``11th``."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def waiting(offer: Json) -> str:
    """When an offer can be had: ``Free now``, or for how long one usually waits."""
    if (offer.get("free") or 0) > 0:
        return "Free now"
    estimate = offer.get("estimate")
    if not estimate:
        return "All in use; the waiting time is not known"
    said = _usually(estimate)
    return f"{said[0].upper()}{said[1:]}"


def _usually(estimate: Json) -> str:
    half, most = duration(estimate["p50_s"]), duration(estimate["p90_s"])
    return f"usually {half}" if half == most else f"usually {half}, 9 of 10 under {most}"


def place(session: Json) -> str:
    """Where a session is in the queue, and how long that takes: ``2nd of 5 in the queue; usually 14 min``."""
    position, length, estimate = (session.get(name) for name in ("queue_position", "queue_length", "estimate"))
    if not position:
        said = "in the queue"
    elif position == 1:
        said = "next in the queue"
    else:
        of = f" of {length}" if length and length >= position else ""
        said = f"{ordinal(position)}{of} in the queue"
    if not estimate or estimate["p90_s"] <= 0:
        return said
    if estimate.get("basis") == "lease_ends":
        return f"{said}; at the latest in {duration(estimate['p90_s'])}"
    return f"{said}; {_usually(estimate)}"


def title(thing: Json) -> str:
    """What an offer or a session is called; what is simulated says so."""
    name = str(thing.get("title") or thing.get("flavor") or "GPU")
    count = thing.get("count") or 1
    name = f"{count} × {name}" if count != 1 else name
    return f"{name} (simulated)" if thing.get("simulated") else name


#: as the panel says it
_CAUSES = {
    "lease": "end of lease",
    "claim_window": "not started in time",
    "server_idle_limit": "idle limit of the server",
    "kernel_idle_limit": "idle limit of the kernel",
    "reservation": "set aside for others",
    "quota": "lent, and wanted back",
    "idle": "idle, and somebody waits",
    "linger": "its kernel is gone",
}


def ending(session: Json) -> str:
    """When a session ends and why: ``Ends 18:10: end of lease``."""
    ends = session.get("ends")
    if not ends:
        return ""
    why = f"set aside for {clean(ends['title'])}" if ends.get("title") else _CAUSES.get(ends["cause"], ends["cause"])
    return f"Ends {clock(ends['at'])}: {why}"


_ENDS = {
    "released": "Given back",
    "expired": "Its lease has ended",
    "reclaimed": "It went to somebody who waits",
    "unclaimed": "It was not started in time",
    "failed": "It could not be started",
    "refused": "It was refused",
    "lost": "It was lost",
}
#: codes of reasons that say no more than how it ended
_SAID_ALREADY = ("lease_ended", "unclaimed")


def state(session: Json) -> str:
    """Where a session is, in one line."""
    what, why = session.get("state"), session.get("reason") or {}
    reason = why.get("text")
    if what == "queued":
        return _queued(session, reason)
    if what == "ready":
        until = session.get("claim_by")
        return f"Ready for you, held until {clock(until)}" if until else "Starting"
    if what == "active":
        return ending(session) or "Running"
    if what == "paused":
        waits = f". A cell waits: {_queued(session, None)}" if session.get("queue_position") else ""
        return f"Paused, variables kept{waits}"
    if what == "ending":
        until = session.get("undo_until")
        return f"Going back; `%gpu undo` within {duration(until - time.time())}" if until else "Going back"
    said = _ENDS.get(str(session.get("end_reason")), "Ended")
    return f"{said}: {reason}" if reason and why.get("code") not in _SAID_ALREADY else said


def _queued(session: Json, reason: str | None) -> str:
    position, estimate = session.get("queue_position"), session.get("estimate")
    parts = [f"{ordinal(position)} in the queue" if position else "In the queue"]
    if estimate:
        parts.append(f"about {duration(estimate['p50_s'])}")
    said = ", ".join(parts)
    return f"{said}. {reason}" if reason and not estimate else said
