"""The gate's decisions: order, who waits, what an interrupt ends."""

from __future__ import annotations

import random

from swangpu.kernels.gate import Gate, Verdict
from swangpu.kernels.messages import Message, Scribe

SCRIBE = Scribe(b"key")


def request(kind: str, client: str = "a") -> Message:
    message = Message.parse(SCRIBE.make(kind, {}, None, [client.encode()]))
    assert message is not None
    return message


def reply(to: Message) -> Message:
    message = Message.parse(SCRIBE.make("execute_reply", {"status": "ok"}, to.header, to.idents))
    assert message is not None
    return message


def test_open_lets_everything_pass() -> None:
    gate = Gate()
    for kind in ("execute_request", "comm_msg", "kernel_info_request", "complete_request"):
        assert gate.admit(request(kind), can_answer=True) is Verdict.PASS


def test_closed_holds_work_and_answers_questions() -> None:
    gate = Gate()
    gate.close("wait")
    for kind in ("execute_request", "comm_open", "comm_msg", "comm_close"):
        assert gate.admit(request(kind), can_answer=True) is Verdict.HOLD
    assert gate.admit(request("kernel_info_request"), can_answer=True) is Verdict.ANSWER
    assert gate.admit(request("shutdown_request"), can_answer=True) is Verdict.PASS


def test_what_cannot_be_answered_goes_to_the_kernel() -> None:
    gate = Gate()
    gate.close()
    assert gate.admit(request("kernel_info_request"), can_answer=False) is Verdict.PASS


def test_a_client_does_not_overtake_itself_and_does_not_hold_up_others() -> None:
    gate = Gate()
    gate.close()
    assert gate.admit(request("complete_request", "a"), can_answer=True) is Verdict.PASS
    gate.admit(request("execute_request", "a"), can_answer=True)
    assert gate.admit(request("complete_request", "a"), can_answer=True) is Verdict.HOLD
    assert gate.admit(request("complete_request", "b"), can_answer=True) is Verdict.PASS


def test_order_is_kept_for_every_client() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        gate, sent, arrived = Gate(), dict[str, list[str]](), dict[str, list[str]]()

        def passes(message: Message, into: dict[str, list[str]] = arrived) -> None:
            into.setdefault(message.client.decode(), []).append(message.id)

        for _ in range(rng.randrange(30)):
            if rng.random() < 0.2:
                gate.close()
            elif rng.random() < 0.2:
                for message in gate.open():
                    passes(message)
            kind = rng.choice(["execute_request", "comm_msg", "complete_request", "comm_info_request"])
            message = request(kind, rng.choice("abc"))
            sent.setdefault(message.client.decode(), []).append(message.id)
            if gate.admit(message, can_answer=True) is Verdict.PASS:
                passes(message)
        for message in gate.open():
            passes(message)
        assert arrived == sent


def test_interrupt_fails_the_first_and_aborts_the_rest_but_keeps_comms() -> None:
    gate = Gate()
    gate.close()
    first, comm, second = request("execute_request"), request("comm_msg"), request("execute_request", "b")
    for message in (first, comm, second):
        gate.admit(message, can_answer=True)
    ended = gate.interrupt()
    assert ended.failed is first
    assert ended.aborted == (second,)
    assert gate.open() == [comm]


def test_interrupt_of_a_running_cell_aborts_all_that_waits() -> None:
    gate = Gate()
    running, waiting = request("execute_request"), request("execute_request")
    gate.admit(running, can_answer=True)
    gate.close()
    gate.admit(waiting, can_answer=True)
    ended = gate.interrupt()
    assert ended.failed is None
    assert ended.aborted == (waiting,)
    gate.replied(reply(running))
    assert not gate.busy


def test_interrupt_of_nothing_is_nothing() -> None:
    ended = Gate().interrupt()
    assert ended.failed is None
    assert ended.aborted == ()


def test_forged_and_torn_messages() -> None:
    message = request("execute_request")
    assert SCRIBE.verify(message)
    assert not Scribe(b"other").verify(message)
    message.frames[message.start + 4] = b'{"code": "other"}'
    assert not SCRIBE.verify(message)
    for frames in ([], [b"a"], [b"<IDS|MSG>"], [b"a", b"<IDS|MSG>", b"", b"{}"]):
        assert Message.parse(frames) is None
    odd = Message.parse([b"a", b"<IDS|MSG>", b"", b"\xff", b"[]", b"1", b""])
    assert odd is not None
    assert (odd.header, odd.parent, odd.content, odd.type) == ({}, {}, {}, "")
