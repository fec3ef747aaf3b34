"""Each gap keeps its own reason, also over a restart, and there is no reason where nothing was read."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swangpu.telemetry.history import BLOCK_S, Block, History
from swangpu.telemetry.history_reasons import MOST_CHANGES, Reasons, changes

LOST = {"utilization_percent": "lost", "memory_used_bytes": "lost"}
CUT = {"utilization_percent": "not_supported"}
WHY = st.sampled_from([{}, LOST, CUT])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60), WHY), max_size=MOST_CHANGES // 2),
    st.integers(0, 900),
    st.booleans(),
)
def test_every_second_has_the_reason_it_was_read_with(
    readings: list[tuple[int, int, dict[str, str]]], start: int, kept: bool
) -> None:
    reasons, model, at = Reasons(), {}, 0
    for gap, length, missing in readings:
        first, at = at + gap, at + gap + length
        reasons.put(first, at - 1, missing)
        model.update(dict.fromkeys(range(first, at), missing))
    if kept:
        reasons = Reasons.load(reasons.dump())
    told = changes([(7200, reasons)], 7200 + start, 7200 + BLOCK_S)
    for second in range(start, BLOCK_S):
        said = [missing for since, missing in told if since <= 7200 + second]
        assert (said[-1] if said else {}) == model.get(second, {})
    assert all(one[1] != other[1] for one, other in pairwise(told))


def test_one_that_flaps_costs_a_bounded_amount_and_its_newest_reason_counts() -> None:
    reasons = Reasons()
    for second in range(0, BLOCK_S, 2):
        reasons.put(second, second, LOST)
        reasons.put(second + 1, second + 1, CUT)
    told = list(reasons.told())
    assert len(told) <= MOST_CHANGES + 1
    assert told[-2][1] == CUT


@given(st.binary(max_size=60) | st.sampled_from([b"[1, [[1, 2]]]", b'[1, [["a", {}]]]', b"[" * 5000, b'{"a": 1}']))
def test_what_is_no_such_file_is_no_reason(content: bytes) -> None:
    list(Reasons.load(content).told())


def fill(history: History, start: int, count: int, percent: float | None, missing: dict[str, str]) -> None:
    for second in range(start, start + count):
        history.add("GPU-0", second, utilization_percent=percent, memory_used_bytes=None, missing=missing)


def test_a_series_says_of_each_gap_why() -> None:
    begin = 5 * BLOCK_S - 60
    history = History()
    fill(history, begin, 100, None, LOST)  # over the end of an hour
    fill(history, begin + 100, 100, 50.0, {})
    fill(history, begin + 1000, 100, None, CUT)
    series = history.series("GPU-0", begin - 100, begin + 2000, 2100)
    assert series.reasons == (
        (begin, LOST),
        (begin + 100, {}),
        (begin + 1000, CUT),
        (begin + 1100, {}),
    )
    assert history.series("GPU-0", begin + 30, begin + 50).reasons == ((begin + 30, LOST),)
    assert history.series("GPU-0", begin + 300, begin + 500).reasons == ()
    again = History()
    for subject, hour, content in history.changed():
        again.restore(subject, hour, content)
    assert again.series("GPU-0", begin - 100, begin + 2000, 2100).reasons == series.reasons
    history.add("GPU-0", begin + 50, utilization_percent=1.0, memory_used_bytes=None)  # the clock was set back
    assert history.series("GPU-0", begin - 100, begin + 2000).reasons == ((begin, LOST), (begin + 50, {}))


def test_a_file_whose_reasons_cannot_be_read_has_its_rows() -> None:
    block = Block(2**20)
    block.put(0, 9, (1, 2, 3, 4, 5, 6), LOST)
    content = block.dump()
    loaded = Block.load(content[: 12 + Block.BYTES] + b"[1, {")
    assert loaded is not None
    assert loaded.rows(0, 20, 2**20) == block.rows(0, 20, 2**20)
    assert list(loaded.reasons.told()) == [(0, {})]


def test_of_two_that_are_put_together_each_keeps_its_gaps() -> None:
    """A device was away in both: before a restart, and when it was looked at before the history was back."""
    before, since = Reasons(), Reasons()
    before.put(100, 199, {})
    before.put(200, 299, {"power_mw": "lost"})
    before.put(300, 399, {"power_mw": "not_supported"})
    since.put(450, 459, {"power_mw": "not_answering"})
    since.put(460, 479, {})
    for both in (since.over(before), before.over(since)):
        told = dict(both.told())
        told[0] = {}
        at = {second: told[max(s for s in told if s <= second)] for second in (150, 250, 350, 420, 455, 470, 500)}
        assert at == {
            150: {},
            250: {"power_mw": "lost"},
            350: {"power_mw": "not_supported"},
            420: {},
            455: {"power_mw": "not_answering"},
            470: {},
            500: {},
        }


def test_what_is_no_such_file_is_none() -> None:
    content = Block(2**20).dump()
    for other in (b"", b"SGH1" + content[4:], content[: 11 + Block.BYTES]):
        assert Block.load(other) is None
