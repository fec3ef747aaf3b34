"""What is kept while nobody listens is bounded, and what is dropped is said."""

from __future__ import annotations

from swangpu.kernels.backlog import Backlog
from swangpu.kernels.messages import Message, Scribe

SCRIBE = Scribe(b"")
PARENT = {"msg_id": "cell-1", "msg_type": "execute_request"}


def say(backlog: Backlog, kind: str, content: dict[str, object]) -> None:
    backlog.keep("iopub", b"", SCRIBE.make(kind, content, PARENT, [kind.encode()]))


def test_bounded_the_newest_output_stays_and_what_ends_a_cell_is_never_dropped() -> None:
    backlog = Backlog(limit_bytes=100_000)
    say(backlog, "status", {"execution_state": "busy"})
    for number in range(2_000):
        say(backlog, "stream", {"name": "stdout", "text": f"{number}\n"})
    say(backlog, "status", {"execution_state": "idle"})
    messages = [Message.parse(kept.frames) for kept in backlog]
    assert sum(kept.size_bytes for kept in backlog) <= 100_000
    kinds = [m.type for m in messages if m]
    assert kinds[0] == kinds[-1] == "status"
    texts = [int(m.content["text"]) for m in messages if m and m.type == "stream"]
    assert texts == list(range(texts[0], 2_000))
    assert texts[0] > 0
    assert backlog.dropped["cell-1"][0] == PARENT
    assert backlog.dropped["cell-1"][1] > 0
    assert len(backlog.take()) == len(messages)
    assert not backlog.dropped
    assert len(backlog) == 0


def test_one_message_larger_than_everything() -> None:
    backlog = Backlog(limit_bytes=10_000)
    say(backlog, "display_data", {"data": {"image/png": "x" * 50_000}})
    say(backlog, "status", {"execution_state": "idle"})
    assert [m.type for m in (Message.parse(k.frames) for k in backlog) if m] == ["status"]
