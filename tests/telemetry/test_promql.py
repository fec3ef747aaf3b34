"""The reader of Prometheus, on a real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from services import prometheus
from swangpu import cli
from swangpu.errors import BadInput, Forbidden, SwanGpuError, Unavailable
from swangpu.telemetry import promql
from swangpu.telemetry.promql import Login, PromQl, TooMuch, login_from

PASSWORD = "s3cret-pass"
#: bcrypt of it
HASHED = "$2b$04$NLmTsrBl1rmp2jpXi4LjleUAtSOaALt1J8NSwWB.mcSj818.IgEt2"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with prometheus() as server:
        yield server.url


def test_it_computes(url: str) -> None:
    with PromQl(url) as prom:
        (one,) = prom.at("vector(42)", 1000.0)
        assert one.value == (1000.0, "42")
        (many,) = prom.over("vector(1)", 1000.0, 1600.0, 300.0)
        assert [at for at, _ in many.values] == [1000.0, 1300.0, 1600.0]
        assert prom.label_values("job", '{job="nothing"}', 0, time.time()) == []


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
def test_the_url_may_be_written_in_several_ways(url: str, suffix: str) -> None:
    with PromQl(url + suffix) as prom:
        assert prom.at("vector(1)")


def test_the_limit_of_points_is_known(url: str) -> None:
    with PromQl(url) as prom:
        (most,) = prom.over("vector(1)", 0, (promql.MAX_POINTS - 1) * 60, 60)
        assert len(most.values) == promql.MAX_POINTS
        with pytest.raises(TooMuch):
            prom.over("vector(1)", 0, promql.MAX_POINTS * 60, 60)


def test_an_answer_that_is_too_large_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promql, "MAX_ANSWER_BYTES", 1000)
    with PromQl(url) as prom, pytest.raises(TooMuch):
        prom.over("vector(1)", 0, 60000, 60)


def test_what_the_server_refuses_is_said(url: str) -> None:
    with PromQl(url) as prom:
        with pytest.raises(Unavailable, match="parse error"):
            prom.at("sum(")
        with pytest.raises(Unavailable, match="same labelset") as caught:
            prom.at('label_replace(vector(1) or label_replace(vector(1),"a","1","",""),"a","b","","")')
        assert not isinstance(caught.value, TooMuch)


def test_basic_authentication(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{reader: {HASHED}}}\n")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(f"reader:{PASSWORD}\n")
    wrong.write_text("reader:another\n")
    with prometheus("", None, f"--web.config.file={web}", login=("reader", PASSWORD)) as server:
        with PromQl(server.url, login_from(None, str(right))) as prom:
            assert prom.at("vector(1)")
        with PromQl(server.url, login_from(None, str(wrong))) as prom, pytest.raises(Forbidden):
            prom.at("vector(1)")
        asked = ["report", "idle", "--prometheus", server.url]
        assert cli.main(asked) == 1
        assert "--basic-auth-file" in capsys.readouterr().err
        assert cli.main([*asked, "--basic-auth-file", str(right)]) == 1
        assert "no metrics of dcgm-exporter" in capsys.readouterr().err


class Guard(BaseHTTPRequestHandler):
    """A proxy before Prometheus that wants a token, and sends others to a page for people."""

    target = ""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer t0ken":
            self.send_response(302)
            self.send_header("Location", "/login")
            self.end_headers()
            return
        kind = {"Content-Type": self.headers["Content-Type"]}
        answer = httpx.post(self.target + self.path.removeprefix("/behind"), content=content, headers=kind)
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *args: object) -> None:
        pass


def test_a_token_and_a_path_of_a_proxy(url: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("G", (Guard,), {"target": url}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        behind = f"http://127.0.0.1:{server.server_port}/behind"
        with PromQl(behind, login_from(str(file), None)) as prom:
            assert prom.at("vector(1)")
        with PromQl(behind) as prom, pytest.raises(Unavailable, match="302"):
            prom.at("vector(1)")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_not_prometheus_is_said(url: str) -> None:
    with PromQl(url + "/classic") as prom, pytest.raises(SwanGpuError):
        prom.at("vector(1)")
    with PromQl("http://127.0.0.1:9") as prom, pytest.raises(Unavailable, match="can't be reached"):
        prom.at("vector(1)")


@pytest.mark.parametrize("wrong", ["", "prometheus:9090", "ftp://x", "http://", "http://x/?a=b", "http://[::1", "/x"])
def test_no_url(wrong: str) -> None:
    with pytest.raises(BadInput):
        PromQl(wrong)


def test_secrets_are_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as caught:
        PromQl("http://reader:hunter2@127.0.0.1/")
    assert "hunter2" not in f"{caught.value.detail}{caught.value.hint}"
    for login in (Login(token="hunter2"), Login(basic=("reader", "hunter2"))):
        assert "hunter2" not in repr(login)
    bad = tmp_path / "bad"
    for content in ("", "two\nlines", "töken"):
        bad.write_text(content)
        with pytest.raises(BadInput) as caught:
            login_from(str(bad), None)
        assert content == "" or content not in caught.value.detail
    bad.write_text("nopassword")
    with pytest.raises(BadInput):
        login_from(None, str(bad))
    assert cli.main(["report", "idle", "--prometheus", "http://a:hunter2@h/", "--token-file", "/nowhere"]) == 1
    assert "hunter2" not in capsys.readouterr().err
