"""The site's other GPUs: read while somebody looks, and nobody waits for a Prometheus that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from swangpu.runtime.clock import SystemClock
from swangpu.server.prometheus import HINTS, PrometheusSettings, reader
from swangpu.telemetry.dcgm_source import DcgmSource
from swangpu.telemetry.history_files import HistoryFiles
from swangpu.telemetry.promql import PromQl
from swangpu.telemetry.remote import RemoteGpus, RemoteSnapshot


class Answers:
    """What speaks as Prometheus does: one GPU a host, scraped ``age_s`` ago. It may want a token, or hang."""

    def __init__(self) -> None:
        self.hosts = ["node-2", "node-1"]
        self.pods: list[str] = []
        self.age_s = 3.0
        self.token: str | None = None
        self.asked = 0
        self.hang = threading.Event()
        self.hang.set()
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"status": "success", "data": []})

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                query = parse_qs(self.rfile.read(length).decode())["query"][0]
                self.answer({"status": "success", "data": {"resultType": "vector", "result": answers.result(query)}})

            def answer(self, body: dict[str, Any]) -> None:
                answers.asked += 1
                answers.hang.wait(30)
                refused = answers.token is not None and self.headers.get("Authorization") != f"Bearer {answers.token}"
                content = json.dumps(body).encode()
                self.send_response(401 if refused else 200)
                self.send_header("Content-Length", str(len(content)))
                with contextlib.suppress(BrokenPipeError):  # who asked has given up
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def result(self, query: str) -> list[dict[str, Any]]:
        now = time.time()
        out = []
        for number, host in enumerate(self.hosts):
            labels = {"UUID": f"GPU-{host}", "gpu": "0", "Hostname": host, "modelName": "Tesla T4"}
            if number < len(self.pods):
                labels["pod"] = self.pods[number]
            if query.startswith("timestamp"):
                out.append({"metric": labels, "value": [now, str(now - self.age_s)]})
            else:
                out.append({"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", **labels}, "value": [now, "40"]})
        return out


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.hang.set()
    made.server.shutdown()
    made.server.server_close()


def remote(answers: Answers, prometheus: PromQl | None = None, files: HistoryFiles | None = None) -> RemoteGpus:
    source = DcgmSource(prometheus or PromQl(answers.url, timeout_s=0.5), read_s=0.0, hints=HINTS)
    return RemoteGpus(source, SystemClock(), files, read_s=0.02)


def test_a_server_that_ends_before_it_has_read_the_history_keeps_it(answers: Answers, tmp_path: Path) -> None:
    def files() -> HistoryFiles:
        return HistoryFiles(tmp_path, bounded=True)

    first = remote(answers, files=files())
    first.restore()
    asyncio.run(first.look())
    until(first, lambda snapshot: snapshot.devices)
    first.close()
    remote(answers, files=files()).close()
    last = remote(answers, files=files())
    last.restore()
    last.close()
    assert last.history.subjects() == ("GPU-node-1", "GPU-node-2")


def until(gpus: RemoteGpus, condition: Callable[[RemoteSnapshot], object], *local: str) -> RemoteSnapshot:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        asyncio.run(gpus.look())
        if condition(gpus.snapshot(local)):
            return gpus.snapshot(local)
        time.sleep(0.02)
    raise AssertionError(f"It never came to that: {gpus.snapshot(local)}")


def test_nobody_looks_and_nothing_is_asked(answers: Answers) -> None:
    gpus = remote(answers)
    assert gpus.snapshot().number == 0
    with gpus.watch():
        deadline = time.monotonic() + 20
        while not gpus.snapshot().devices and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [(one.host, one.info.uuid) for one in gpus.snapshot().devices] == [
        ("node-1", "GPU-node-1"),
        ("node-2", "GPU-node-2"),
    ]
    gpus._sampler.refresh().result(20)
    asked = answers.asked
    time.sleep(0.4)  # time for twenty readings
    assert answers.asked == asked
    gpus.close()
    assert gpus.history.series("GPU-node-1", 0, time.time() + 1).utilization_percent == (40.0,)


def test_its_age_is_that_of_the_scrape(answers: Answers) -> None:
    gpus = remote(answers)
    one = until(gpus, lambda s: s.devices).devices[0]
    gpus.close()
    assert one.scraped_at is not None
    assert 2.9 <= time.time() - one.scraped_at < 25


def test_this_machines_own_are_not_among_them(answers: Answers) -> None:
    gpus = remote(answers)
    found = until(gpus, lambda s: s.devices, "GPU-node-2")
    gpus.close()
    assert [one.info.uuid for one in found.devices] == ["GPU-node-1"]
    assert set(found.samples) == {"GPU-node-1"}


def test_who_holds_it_is_known_only_where_pods_are_named(answers: Answers) -> None:
    gpus = remote(answers)
    assert [one.holders for one in until(gpus, lambda s: s.devices).devices] == [None, None]
    answers.pods = ["jupyter-alice"]
    found = until(gpus, lambda s: s.devices and s.devices[0].holders is not None).devices
    gpus.close()
    assert [len((one.holders or {})[one.info.uuid]) for one in found] == [0, 1]


def test_one_that_hangs_is_waited_for_once_and_its_end_is_told(answers: Answers) -> None:
    gpus = remote(answers)
    answers.hang.clear()
    gone = until(gpus, lambda s: s.number and not s.status.ok)
    assert (gone.status.code, gone.status.text) == ("not_answering", "Prometheus did not answer in time.")
    answers.hang.set()
    assert until(gpus, lambda s: s.status.ok and s.devices).devices[0].info.lost_reason is None
    answers.hang.clear()
    gone = until(gpus, lambda s: not s.status.ok)
    gpus.close()
    assert [one.info.lost_reason for one in gone.devices] == ["not_answering", "not_answering"]
    assert gone.samples["GPU-node-1"].utilization_percent is None


def test_more_than_are_shown_are_counted(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swangpu.telemetry.remote.MOST_DEVICES", 3)
    answers.hosts = [f"node-{n}" for n in range(8)]
    gpus = remote(answers)
    found = until(gpus, lambda s: s.devices)
    gpus.close()
    assert (len(found.devices), len(found.samples), found.left_out) == (3, 3, 5)


def test_a_token_is_read_again_when_it_changes(
    answers: Answers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "token"
    secret.write_text("of-yesterday")
    answers.token = "of-today"
    caplog.set_level("DEBUG")
    gpus = remote(answers, reader(PrometheusSettings(answers.url, str(secret))))
    refused = until(gpus, lambda s: s.number)
    assert refused.status.code == "no_permission"
    assert "SwanGpu.prometheus_token_file" in refused.status.hint
    secret.write_text("of-today\n")
    assert until(gpus, lambda s: s.status.ok).devices
    secret.unlink()
    gone = until(gpus, lambda s: not s.status.ok)
    assert gone.status.code == "failed"
    assert str(tmp_path) not in gone.status.text + gone.status.hint
    gpus.close()
    assert "of-today" not in caplog.text
