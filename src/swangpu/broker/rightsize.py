"""Less would do: what a notebook's last runs needed, against what it asks for. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.records import RunPeak
from ..domain.sessions import Reason

__all__ = ["CONTEXT_BYTES", "MARGIN", "RUNS_AT_LEAST", "RUNS_LOOKED_AT", "Choice", "advise", "needed_bytes"]

#: advice is given of so many runs, and of no fewer than these
RUNS_LOOKED_AT, RUNS_AT_LEAST = 5, 3
#: a share has to have this much more than the highest peak, since allocators leave gaps and the next run may differ
MARGIN = 0.2
#: CUDA's context and the libraries' own buffers, which no allocator counts
CONTEXT_BYTES = 10**9


@dataclass(frozen=True)
class Choice:
    """A flavor that could be had: in plain words, its memory, how many are free now, and what it is called."""

    title: str
    flavor: str
    memory_bytes: int
    free: int


def needed_bytes(runs: Sequence[RunPeak]) -> int:
    """What a share must have for runs like these."""
    return math.ceil(max(run.peak_bytes for run in runs) * (1 + MARGIN)) + CONTEXT_BYTES


def advise(
    runs: Sequence[RunPeak], choices: Sequence[Choice], wanted_bytes: int | None, notebook: str
) -> Reason | None:
    """Name a smaller share, where it is certain that one would have done and is free.

    Parameters
    ----------
    runs : sequence of RunPeak
        Newest first; of these at most `RUNS_LOOKED_AT` count.
    choices : sequence of Choice
        What could be had instead.
    wanted_bytes : int or None
        Memory that is asked for; None when nothing was said, then what the last run had.
    notebook : str
        Its name, for the sentence.

    Returns
    -------
    Reason or None
        ``smaller_fits`` with ``notebook``, ``runs``, ``peak_bytes``, ``title``, ``flavor``, ``memory_bytes`` and
        ``margin_percent``.
    """
    runs = runs[:RUNS_LOOKED_AT]
    if len(runs) < RUNS_AT_LEAST:
        return None
    wanted = wanted_bytes if wanted_bytes is not None else runs[0].share_memory_bytes
    need = needed_bytes(runs)
    fitting = [c for c in choices if need <= c.memory_bytes < wanted and c.free > 0]
    if not fitting:
        return None
    best = min(fitting, key=lambda c: (c.memory_bytes, c.title, c.flavor))
    peak = max(run.peak_bytes for run in runs)
    text = (
        f"The last {len(runs)} profiled runs of {notebook} peaked at {peak / 1e9:.1f} GB: {best.title} fits "
        f"with {round(100 * MARGIN)} % to spare and is free now."
    )
    return Reason(
        "smaller_fits",
        text,
        (
            ("notebook", notebook),
            ("runs", len(runs)),
            ("peak_bytes", peak),
            ("title", best.title),
            ("flavor", best.flavor),
            ("memory_bytes", best.memory_bytes),
            ("margin_percent", round(100 * MARGIN)),
        ),
    )
