"""``swangpu demo``: one command, and nothing of the person's own is read or written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server_process import eventually, free_port


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_the_demo_starts_apart_from_everything_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    config = home / ".jupyter"
    config.mkdir(parents=True)
    scratch.mkdir()
    (config / "jupyter_server_config.py").write_text("raise SystemExit('the person\\'s own configuration was read')\n")
    before = sorted(home.rglob("*"))
    port = free_port()
    environment = {"HOME": str(home), "TMPDIR": str(scratch), "PATH": str(Path(sys.executable).parent)}
    words = ["demo", "--no-browser", "--port", str(port), "--token", "T", "--ServerApp.port_retries=0"]
    log = (tmp_path / "log").open("wb")
    with log:
        running = subprocess.Popen(
            [sys.executable, "-m", "swangpu.cli", *words], env=environment, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "token T"}, trust_env=False, timeout=30
        )

        def up() -> bool:
            assert running.poll() is None, (tmp_path / "log").read_text()[-2000:]
            return client.get("/lab").status_code == 200

        with client:
            eventually(up, 60)
            offers = client.get("/swangpu/api/v1/offers").json()["items"]
            assert offers
            assert all(offer["simulated"] for offer in offers)
            names = {entry["name"] for entry in client.get("/api/contents").json()["content"]}
            assert "first-gpu.ipynb" in names
            assert "first-gpu.ipynb" in client.get("/", follow_redirects=True).url.path
    finally:
        running.send_signal(number)
        running.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert sorted(home.rglob("*")) == before
    assert not list(scratch.glob("swangpu-demo-*"))
