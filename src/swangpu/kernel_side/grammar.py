"""The grammar of ``%gpu``: from a line to a `Command`, without any I/O."""

from __future__ import annotations

import keyword
import math
import re
from dataclasses import dataclass

__all__ = ["VERBS", "Command", "GrammarError", "parse", "parse_cell", "parse_duration", "parse_size", "parse_wanted"]

#: verb to (what may follow, what it does), in the order of the help
VERBS: dict[str, tuple[str, str]] = {
    "": ("", "this kernel's GPU, and what can be had"),
    "get": ("10GB [--for 2h] [--on POOL] [--notify]", "put this kernel on a GPU with at least this much memory"),
    "mine": ("", "my sessions"),
    "extend": ("[1h]", "keep this kernel's GPU longer"),
    "release": ("", "give this kernel's GPU back"),
    "undo": ("", "take the last release back, while that is possible"),
    "why": ("", "why this kernel's session is where it is"),
    "watch": ("", "a live view of this kernel's GPU"),
    "profile": ("[on|off]", "say after each cell what it did on the GPU"),
    "cluster": ("get 4x10GB", "a cluster with several GPUs"),
    "help": ("", "this page"),
}

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_COUNTED = re.compile(r"(\d{1,6})x(.+)", re.IGNORECASE | re.ASCII)
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(sec|min|[smhd])", re.IGNORECASE | re.ASCII)
_FLAVOR = re.compile(r"[a-z][a-z0-9._+/-]{0,199}", re.IGNORECASE | re.ASCII)


class GrammarError(ValueError):
    """What was written cannot be understood: one sentence, and a hint that shows how it is written."""

    def __init__(self, detail: str, hint: str = "`%gpu help` shows what there is.") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Command:
    """One line, understood.

    Parameters
    ----------
    verb : str
        A key of `VERBS`, ``"cluster get"``, or ``"cell"`` for ``%%gpu``.
    memory_bytes, flavor : int or None, str or None
        At most one of the two.
    duration_s : float or None
        How long to hold it, or by how much to extend, in seconds.
    carry : str or None
        ``"all"`` or ``"none"`` once the person has chosen what happens to the variables.
    warm_s : float
        For how long ``%%gpu`` keeps the share after the cell, in seconds.
    target : str or None
        The beginning of a session's id; ``on`` or ``off`` for ``%gpu profile``.
    profile : bool
        Whether ``%%gpu`` says what the cell did.
    inputs, outputs : tuple of str or None
        The variables that ``%%gpu`` sends and brings back; None means what the cell reads, and what it sets or changes.
    """

    verb: str
    memory_bytes: int | None = None
    flavor: str | None = None
    count: int = 1
    duration_s: float | None = None
    pool: str | None = None
    notify: bool = False
    carry: str | None = None
    warm_s: float = 0.0
    target: str | None = None
    profile: bool = False
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None

    @property
    def wants_something(self) -> bool:
        return self.memory_bytes is not None or self.flavor is not None


def parse_size(text: str) -> int:
    """Bytes of ``10GB``, ``1.5 GiB``, ``500MB``. GB are 10**9, GiB are 2**30.

    Raises
    ------
    GrammarError
    """
    hint = "Write it like 10GB, 1.5GiB or 500MB."
    match = _SIZE.fullmatch(text.strip())
    unit = match.group(2).upper() if match else None
    if match is None or unit not in _UNITS or not unit:
        raise GrammarError(f"{_quoted(text)} is not a size of memory.", hint)
    size = int(float(match.group(1)) * _UNITS[unit])
    if size <= 0:
        raise GrammarError("The memory must be more than nothing.", hint)
    if size > 10**15:
        raise GrammarError(f"{_quoted(text)} is more memory than any GPU has.", hint)
    return size


def parse_duration(text: str) -> float:
    """Seconds of ``2h``, ``90min``, ``1h30m``, ``1.5h``.

    Raises
    ------
    GrammarError
    """
    hint = "Write it like 2h, 90min or 1h30m."
    squeezed = text.strip().lower()
    at, total, parts = 0, 0.0, 0
    for match in _DURATION_PART.finditer(squeezed):
        if match.start() != at:
            break
        at, parts = match.end(), parts + 1
        total += float(match.group(1)) * _SECONDS[match.group(2).lower()]
    if not parts or at != len(squeezed) or not math.isfinite(total):
        raise GrammarError(f"{_quoted(text)} is not a duration.", hint)
    if total <= 0:
        raise GrammarError("The duration must be more than nothing.", hint)
    return total


def parse_wanted(text: str) -> tuple[int | None, str | None, int]:
    """Memory in bytes or flavor, and count, of ``10GB``, ``4x10GB``, ``a100-40gb/1g.5gb`` or ``2xt4``.

    Raises
    ------
    GrammarError
    """
    count = 1
    counted = _COUNTED.fullmatch(text)
    if counted:
        count, text = int(counted.group(1)), counted.group(2)
        if count < 1:
            raise GrammarError("At least one GPU has to be asked for.", "Write it like 4x10GB.")
    if text[:1].isalpha() and text[:1].isascii():
        if not _FLAVOR.fullmatch(text):
            raise GrammarError(f"{_quoted(text)} is not the name of a flavor.", "`%gpu` lists what there is.")
        return None, text, count
    return parse_size(text), None, count


def parse(line: str) -> Command:
    """Understand what follows ``%gpu``.

    Raises
    ------
    GrammarError
    """
    words = line.split()
    if not words:
        return Command("")
    verb, rest = words[0].lower(), words[1:]
    if verb in ("get", "cluster"):
        if verb == "cluster":
            if [word.lower() for word in rest[:1]] != ["get"]:
                raise GrammarError("`%gpu cluster` knows `get` only.", "Write it like `%gpu cluster get 4x10GB`.")
            verb, rest = "cluster get", rest[1:]
        return _get(verb, rest)
    if verb == "extend":
        if len(rest) > 2:
            raise GrammarError("`%gpu extend` takes one duration.", "Write it like `%gpu extend 1h`.")
        return Command(verb, duration_s=parse_duration(rest[0]) if rest else None, target=rest[1] if rest[1:] else None)
    if verb in ("release", "why"):
        carry = None
        if verb == "release" and "--drop" in rest:
            carry, rest = "none", [word for word in rest if word != "--drop"]
        if len(rest) > 1 or (rest and rest[0].startswith("-")):
            raise GrammarError(f"`%gpu {verb}` takes at most the id of a session.", "`%gpu mine` lists your sessions.")
        return Command(verb, target=rest[0] if rest else None, carry=carry)
    if verb == "profile":
        if len(rest) > 1 or [word for word in rest if word.lower() not in ("on", "off")]:
            raise GrammarError("`%gpu profile` takes `on` or `off`.", "One cell alone: `%%gpu --profile` above it.")
        return Command(verb, target=rest[0].lower() if rest else None)
    if verb in VERBS:
        if rest:
            raise GrammarError(f"`%gpu {verb}` takes nothing after it.", f"Write `%gpu {verb}`.")
        return Command(verb)
    if re.match(r"\d", verb):
        raise GrammarError("What is to be done with it?", f"To get a GPU, write `%gpu get {words[0][:40]}`.")
    raise GrammarError(f"`%gpu` does not know {_quoted(verb)}.")


def parse_cell(line: str) -> Command:
    """Understand what follows ``%%gpu``: what to hold while the cell runs.

    Raises
    ------
    GrammarError
    """
    hint = "Write it like `%%gpu 10GB`, `%%gpu 10GB --warm 60s` or `%%gpu --profile`."
    words = line.split()
    if words and words[0].lower() in VERBS:
        raise GrammarError(f"`{words[0]}` goes into a line of its own: `%gpu {words[0]}`.", hint)
    command = _get("cell", words)
    if not command.wants_something and not command.profile:
        raise GrammarError("How much memory does the cell need?", hint)
    if command.count != 1:
        raise GrammarError("A cell runs on one GPU.", hint)
    given = command.warm_s or command.pool or command.inputs or command.outputs
    if not command.wants_something and given:
        raise GrammarError("`--warm`, `--on`, `-i` and `-o` are about a GPU that is got for this cell.", hint)
    return command


def _get(verb: str, words: list[str]) -> Command:
    wanted: str | None = None
    values: dict[str, str] = {}
    flags: set[str] = set()
    takes = {"cell": ["--on", "--warm", "-i", "-o"]}.get(verb, ["--for", "--on"])
    switches = {"get": ["--notify", "--carry", "--drop"], "cluster get": ["--notify"], "cell": ["--profile"]}.get(
        verb, []
    )
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if name in takes:
            if not equals:
                if not queue or queue[0].startswith("-"):
                    raise GrammarError(f"What comes after `{name}` is missing.", f"Write it like {_EXAMPLES[name]}.")
                value = queue.pop(0)
            if name in values:
                raise GrammarError(f"`{name}` is there twice.")
            values[name] = value
        elif word in switches:
            flags.add(word)
        elif word.startswith("-"):
            raise GrammarError(f"`{word[:40]}` is not an option here.", f"There are: {', '.join([*takes, *switches])}.")
        elif wanted is None:
            wanted = word
            # people write "10 GB" too
            if queue and re.fullmatch(r"[\dx.]+", word) and queue[0].upper() in _UNITS:
                wanted += queue.pop(0)
        else:
            raise GrammarError(f"Either {_quoted(wanted)} or {_quoted(word)}, not both.")
    if {"--carry", "--drop"} <= flags:
        raise GrammarError("Either `--carry` or `--drop`, not both.")
    memory_bytes, flavor, count = parse_wanted(wanted) if wanted is not None else (None, None, 1)
    return Command(
        verb,
        memory_bytes=memory_bytes,
        flavor=flavor,
        count=count,
        duration_s=parse_duration(values["--for"]) if "--for" in values else None,
        pool=values.get("--on"),
        notify="--notify" in flags,
        carry="all" if "--carry" in flags else "none" if "--drop" in flags else None,
        warm_s=parse_duration(values["--warm"]) if "--warm" in values else 0.0,
        profile="--profile" in flags,
        inputs=_names(values["-i"]) if "-i" in values else None,
        outputs=_names(values["-o"]) if "-o" in values else None,
    )


def _names(text: str) -> tuple[str, ...]:
    names = text.split(",")
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise GrammarError(f"{_quoted(name)} is not the name of a variable.", "Write it like `-i data,model`.")
    return tuple(dict.fromkeys(names))


_EXAMPLES = {
    "--for": "`--for 2h`",
    "--on": "`--on POOL`",
    "--warm": "`--warm 60s`",
    "-i": "`-i data,model`",
    "-o": "`-o model`",
}


def _quoted(text: str) -> str:
    return repr(text[:40] + "…" if len(text) > 40 else text)
