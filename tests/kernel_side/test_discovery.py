"""How a kernel and the command line find the server, and what they say when it does not answer."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from swangpu.kernel_side import api, complete, discovery
from swangpu.kernel_side.discovery import Place

ME = os.getpid()


@pytest.fixture(autouse=True)
def nobody_told_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SWANGPU_API_URL", "SWANGPU_API_TOKEN_FILE", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))


def test_a_server_is_found_by_its_file(tmp_path: Path) -> None:
    place = Place("http://127.0.0.1:8888/", "secret", ME, 5.0)
    path = discovery.write(place, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert discovery.read_all(tmp_path) == [place]
    assert discovery.find() == place
    assert "secret" not in repr(place)
    discovery.forget(ME, tmp_path)
    assert discovery.read_all(tmp_path) == []


def test_dead_torn_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    discovery.write(Place("http://127.0.0.1:1/", "t", 2**22 + 12345, 1.0), tmp_path)
    (tmp_path / "swangpu-1.json").write_text('{"url": "http://127')
    (tmp_path / "swangpu-2.json").write_text(json.dumps({"url": "file:///etc/passwd", "token": "t", "pid": ME}))
    (tmp_path / "swangpu-3.json").write_text("[]")
    assert discovery.read_all(tmp_path) == []
    assert discovery.find() is None
    with pytest.raises(api.ApiError, match="No running Jupyter server"):
        api.find()


def test_a_kernel_that_outlived_its_server_finds_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    monkeypatch.setenv("SWANGPU_API_URL", "http://127.0.0.1:1111/")
    monkeypatch.setenv("SWANGPU_API_TOKEN_FILE", str(token))
    told = Place("http://127.0.0.1:1111/", "old")
    assert discovery.find() == told
    new = Place("http://127.0.0.1:2222/", "new", ME, 9.0)
    discovery.write(new, tmp_path)
    assert discovery.find() == new
    token.write_text("new\n")
    assert discovery.find() == Place("http://127.0.0.1:1111/", "new")


@pytest.mark.parametrize(
    "url", ["http://h/x", "http://h/x/", "http://h/x/swangpu/api/v1", "http://h/x/swangpu/api/v1/"]
)
def test_the_api_is_below_the_server(url: str) -> None:
    assert discovery.api_base(url) == "http://h/x/swangpu/api/v1"


class Answers(BaseHTTPRequestHandler):
    status, content, headers_out = 200, b"{}", {}  # type: ignore[var-annotated]
    seen: list[tuple[str, str, str | None]]

    def do_GET(self) -> None:
        type(self).seen.append((self.command, self.path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        for key, value in self.headers_out.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    do_POST = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[tuple[type[Answers], api.Api]]:
    handler = type("Handler", (Answers,), {"seen": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield handler, api.Api(f"http://127.0.0.1:{server.server_port}/", "t0ken")
    server.shutdown()
    thread.join()
    server.server_close()


def test_problems_become_sentences(answers: tuple[type[Answers], api.Api]) -> None:
    handler, client = answers
    problem = {"code": "refused", "detail": "Too much.", "hint": "Ask for less.", "params": {"n": 1}}
    handler.status, handler.content = 422, json.dumps(problem).encode()
    with pytest.raises(api.ApiError) as caught:
        client.create({}, "key")
    error = caught.value
    assert (error.detail, error.hint, error.code, error.status, error.params) == (
        "Too much.",
        "Ask for less.",
        "refused",
        422,
        {"n": 1},
    )


@pytest.mark.parametrize(
    ("status", "content", "word"),
    [
        (302, b"", "let this kernel in"),
        (403, b"<html>", "let this kernel in"),
        (404, b"", "no GPU service"),
        (500, b"oops", "an error (500)"),
        (200, b"<html>", "not swangpu"),
        (200, b"[1]", "not swangpu"),
    ],
)
def test_other_answers_too(answers: tuple[type[Answers], api.Api], status: int, content: bytes, word: str) -> None:
    handler, client = answers
    handler.status, handler.content = status, content
    handler.headers_out = {"Location": "http://127.0.0.1:9/login"} if status == 302 else {}
    with pytest.raises(api.ApiError) as caught:
        client.sessions()
    assert word in f"{caught.value.detail}"
    assert caught.value.hint
    assert len(handler.seen) == 1, "the token must not follow a redirect"


def test_ids_cannot_leave_their_place(answers: tuple[type[Answers], api.Api], monkeypatch: pytest.MonkeyPatch) -> None:
    handler, client = answers
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    handler.content = b"{}"
    client.release("../../api/kernels?x=\"'")
    assert handler.seen == [("DELETE", "/swangpu/api/v1/sessions/..%2F..%2Fapi%2Fkernels%3Fx%3D%22%27", "token t0ken")]


def test_nobody_there(answers: tuple[type[Answers], api.Api]) -> None:
    with pytest.raises(api.ApiError) as caught:
        api.Api("http://127.0.0.1:9/", "t").sessions()
    assert caught.value.code == "no_answer"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("%gpu ", ["get", "mine", "extend", "release", "undo", "why", "watch", "profile", "cluster", "help"]),
        ("%gpu e", ["extend"]),
        ("%gpu get t", ["t4/mps-4"]),
        ("%gpu get 10GB --", ["--for", "--on", "--notify"]),
        ("%gpu get 10GB --on ", ["local", "site"]),
        ("%gpu get 10GB --for 2", ["2h"]),
        ("%gpu cluster ", ["get", "--for", "--on"]),
        ("%gpu release ", ["--drop"]),
        ("%gpu profile ", ["on", "off"]),
        ("%gpu extend ", ["30min", "1h", "2h", "4h", "8h"]),
        ("%%gpu a", ["a100-40gb"]),
        ("%%gpu 10GB --w", ["--warm"]),
        ("%%gpu 10GB --p", ["--profile"]),
        ("%%gpu 10GB -i ", ["data", "model"]),
        ("%%gpu 10GB -i data,", ["model"]),
        ("%%gpu 10GB -o mo", ["model"]),
        ("%%gpu 10GB -i data -o data,mo", ["model"]),
        ("%%gpu 10GB -", ["--warm", "--on", "--profile", "-i", "-o"]),
        ("%gpu mine ", []),
    ],
)
def test_completion(monkeypatch: pytest.MonkeyPatch, line: str, found: list[str]) -> None:
    monkeypatch.setattr(complete, "_known", lambda: (["a100-40gb", "t4/mps-4"], ["local", "site"]))
    assert complete.candidates(line, ["model", "data", "In", "_3"]) == found


def test_completion_without_a_server_knows_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "_kept", (-1e9, [], []))
    assert complete.candidates("%gpu get ") == ["--for", "--on", "--notify"]
