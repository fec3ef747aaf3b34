"""Whoever else hears notices: listeners to Jupyter's events, and a site's own function, whatever that does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from jupyter_events import EventLogger
from traitlets import TraitError
from traitlets.config.loader import KeyValueConfigLoader

from swangpu import wire
from swangpu.broker.commands import Notify
from swangpu.runtime.notices import Notices, StoredNotice
from swangpu.server import notice_events, notice_hook
from swangpu.server.extension import SwanGpu
from swangpu.server.notice_hook import NoticeHook

NOTICE = wire.Notice(
    id="e-1",
    at=1000.5,
    code="lease_ends",
    level="warning",
    text="T4 goes back in 10 min.",
    params={"minutes": 10, "title": "T4", "next_at": None},
    session_id="s1",
    actions=["extend", "release"],
)
#: what a hook is told, and must not get into a log
TOLD = {"code": "lease_ends", "text": "T4 of the secret project goes back.", "user": "ada"}


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_listener_hears_a_notice_as_the_panel_does() -> None:
    async def test() -> None:
        events, heard = EventLogger(), asyncio.Queue[dict[str, Any]]()

        async def hear(logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
            await heard.put(data)

        # a listener may come before us
        events.add_listener(schema_id=notice_events.SCHEMA_ID, listener=hear)
        notice_events.register(events)
        notice_events.emit(events, NOTICE)
        notice_events.emit(events, msgspec.structs.replace(NOTICE, session_id=None))
        assert await heard.get() == msgspec.to_builtins(NOTICE)
        assert (await heard.get())["session_id"] is None

    run(test)


def test_the_schema_has_the_fields_of_a_notice_and_no_user() -> None:
    fields = {field.name for field in msgspec.structs.fields(wire.Notice)}
    assert set(notice_events.SCHEMA["properties"]) == set(notice_events.SCHEMA["required"]) == fields
    assert "user" not in fields


def test_a_listener_that_fails_leaves_the_others_their_notices() -> None:
    notices, heard = Notices("e"), list[StoredNotice]()

    def fail(notice: StoredNotice) -> None:
        raise RuntimeError

    notices.listen(fail)
    notices.listen(heard.append)
    notices.keep(Notify("ada", "s1", "ready", "success", "T4 is ready for you."), 5.0)
    assert [notice.id for notice in heard] == [notice.id for notice in notices.of("ada")] == ["e-1"]


def told_by(hook: Callable[[asyncio.Queue[Any], asyncio.AbstractEventLoop], Any], count: int = 1) -> list[Any]:
    """What a hook does with notices; it is made with a queue of the server's loop, and that loop."""
    heard: list[Any] = []

    async def test() -> None:
        queue = asyncio.Queue[Any]()
        one = NoticeHook(hook(queue, asyncio.get_running_loop()))
        for number in range(count):
            one.put({**TOLD, "id": number})
        for _ in range(count):
            heard.append(await queue.get())
        await one.close()

    run(test)
    return heard


def test_a_function_is_told_in_order_and_on_another_thread() -> None:
    def hook(queue: asyncio.Queue[Any], loop: asyncio.AbstractEventLoop) -> Any:
        def tell(notice: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, (notice["id"], threading.get_ident()))

        return tell

    heard = told_by(hook, 5)
    assert [number for number, _ in heard] == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in {thread for _, thread in heard}


def test_so_is_a_coroutine_function() -> None:
    def hook(queue: asyncio.Queue[Any], loop: asyncio.AbstractEventLoop) -> Any:
        async def tell(notice: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            loop.call_soon_threadsafe(queue.put_nowait, notice["user"])

        return tell

    assert told_by(hook) == ["ada"]


def test_one_that_raises_is_logged_once_without_what_it_was_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        calls = asyncio.Queue[str]()
        loop = asyncio.get_running_loop()

        def fail(notice: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(calls.put_nowait, notice["text"])
            raise ConnectionError(f"https://chat.example.org/t0p-s3cret {notice}")

        hook = NoticeHook(fail)
        for _ in range(3):
            hook.put(TOLD)
        for _ in range(3):
            await calls.get()
        await asyncio.wait_for(hook._task or asyncio.sleep(0), 30)  # type: ignore[arg-type]

    with caplog.at_level(logging.DEBUG):
        run(test)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("swangpu")]
    assert ours == ["SwanGpu.notice_hook failed: ConnectionError. Later failures are not logged."]
    assert "s3cret" not in caplog.text
    assert "secret project" not in caplog.text


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_one_that_hangs_holds_up_neither_the_server_nor_what_comes_after(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    end = threading.Event()

    async def test() -> None:
        heard = asyncio.Queue[int]()
        loop = asyncio.get_running_loop()

        def tell(notice: dict[str, Any]) -> Any:
            if notice["id"] == 0:
                return asyncio.Event().wait() if kind == "coroutine" else end.wait()
            loop.call_soon_threadsafe(heard.put_nowait, notice["id"])
            return None

        hook = NoticeHook(tell, limit_s=0.2)
        for number in range(2):
            hook.put({**TOLD, "id": number})
        # the loop goes on meanwhile
        await asyncio.sleep(0)
        assert heard.empty()
        assert await heard.get() == 1
        await hook.close()

    run(test)
    end.set()
    assert "failed" in caplog.text
    assert "secret project" not in caplog.text


def test_calls_that_never_end_are_not_begun_without_end() -> None:
    end, begun = threading.Event(), list[int]()

    async def test() -> None:
        def hang(notice: dict[str, Any]) -> None:
            begun.append(1)
            end.wait()

        hook = NoticeHook(hang, limit_s=0.01)
        for _ in range(50):
            hook.put(TOLD)
        await asyncio.wait_for(hook._task or asyncio.sleep(0), 30)  # type: ignore[arg-type]

    run(test)
    end.set()
    assert len(begun) == notice_hook.MOST_STUCK


def test_of_too_many_the_newest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(queue: asyncio.Queue[Any], loop: asyncio.AbstractEventLoop) -> Any:
        return lambda notice: loop.call_soon_threadsafe(queue.put_nowait, notice["id"])

    monkeypatch.setattr(notice_hook, "MOST_WAITING", 3)

    async def test() -> None:
        queue = asyncio.Queue[int]()
        one = NoticeHook(hook(queue, asyncio.get_running_loop()))
        for number in range(10):
            one.put({"id": number})
        assert [await queue.get() for _ in range(3)] == [7, 8, 9]
        await one.close()

    run(test)


def test_a_name_that_leads_nowhere_is_a_failure_like_any(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        hook = NoticeHook("swangpu_no_such_module.tell")
        hook.put(TOLD)
        await asyncio.wait_for(hook._task or asyncio.sleep(0), 30)  # type: ignore[arg-type]

    run(test)
    assert "ImportError" in caplog.text or "ModuleNotFoundError" in caplog.text


@pytest.mark.parametrize("value", ["tell", "my site.mail", "a..b", ".a", 3, ["a.b"]])
def test_what_can_be_no_hook_is_refused_at_the_start(value: object) -> None:
    with pytest.raises(TraitError, match="notice_hook"):
        SwanGpu(notice_hook=value)


@pytest.mark.parametrize("value", [[0.0], [-5.0], [float("nan")], [60.0] * 9])
def test_warnings_that_make_no_sense_are_refused(value: object) -> None:
    with pytest.raises(TraitError, match="warn_s"):
        SwanGpu(warn_s=value)


def test_warnings_are_given_in_any_order() -> None:
    assert SwanGpu(warn_s=[60, 1800]).warn_s == [1800.0, 60.0]


def test_warnings_can_be_given_on_the_command_line() -> None:
    found = KeyValueConfigLoader().load_config(["--SwanGpu.warn_s=60", "--SwanGpu.warn_s=1800"])
    assert SwanGpu(config=found).warn_s == [1800.0, 60.0]
    assert SwanGpu(config=KeyValueConfigLoader().load_config(["--SwanGpu.warn_s=60"])).warn_s == [60.0]
