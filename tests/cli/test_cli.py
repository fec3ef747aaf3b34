"""The command line without a server: usage, errors in one sentence, and what the doctor finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swangpu import cli, doctor
from swangpu.commands import demo


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SWANGPU_API_URL", "SWANGPU_API_TOKEN_FILE", "JUPYTER_DEFAULT_PROVISIONER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))


def test_starting_loads_nothing_heavy() -> None:
    program = """
import sys
sys.argv = ["swangpu", "--version"]
from swangpu import cli
try:
    cli.main()
except SystemExit:
    pass
heavy = {"httpx", "msgspec", "tornado", "IPython", "jupyter_server", "sqlalchemy", "pynvml", "traitlets"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("swangpu ")


@pytest.mark.parametrize(
    "words",
    [["status"], ["run", "--memory", "10GB", "--", "true"], ["report", "usage"], ["status", "--json"]],
)
def test_without_a_server_one_sentence_and_a_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "No running Jupyter server" in said.err
    assert "swangpu demo" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["run", "--", "true"], 2),
        (["run", "--memory", "1GB", "--flavor", "x", "--", "true"], 2),
        (["report"], 2),
        (["status", "--nonsense"], 2),
        (["dance"], 2),
        (["run", "--memory", "1GB"], 1),
        (["run", "--memory", "much", "--url", "http://127.0.0.1:9", "--token-file", "/dev/null", "--", "true"], 1),
        (["status", "--url", "ftp://x"], 1),
        (["status", "--url", "http://127.0.0.1:9"], 1),
        (["status", "--url", "http://127.0.0.1:9", "--token-file", "/nowhere"], 1),
        (["report", "usage", "--last", "ages"], 1),
    ],
)
def test_bad_input(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        ended = cli.main(words)
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err + said.out


def test_the_doctor_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {one["check"] for one in findings} >= {
        "driver",
        "mps",
        "extension",
        "labextension",
        "provisioner",
        "environment",
        "configuration",
        "server",
    }
    for one in findings:
        assert set(one) == {"check", "status", "title", "text", "hint"}
        assert one["status"] in ("ok", "info", "warning", "problem")
        assert one["hint"] or one["status"] in ("ok", "info")


def test_the_doctor_names_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    config = tmp_path / "config" / "jupyter_server_config.json"
    config.write_text(json.dumps({"SwanGpu": {"default_lease_s": -5, "colour": "blue"}}))
    said = [one for one in doctor.examine() if one.check == "configuration"]
    assert {one.status for one in said} == {"problem", "warning"}
    assert any("default_lease_s" in one.text for one in said)
    assert any("colour" in one.text for one in said)
    config.write_text("{")
    assert any("not JSON" in one.text for one in doctor.examine())


def test_the_doctor_leaves_the_sites_provisioner_alone_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", "site-provisioner")
    said = next(one for one in doctor.examine() if one.check == "provisioner")
    assert said.status in ("warning", "problem")
    if said.status == "warning":
        assert "site-provisioner" in said.text


def test_one_check_that_fails_does_not_keep_the_others_from_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("\x1b[31mboom")

    monkeypatch.setattr(doctor, "_mps", broken)
    found = doctor.examine()
    assert len({one.check for one in found}) > 4
    assert all(one.text.isprintable() for one in found)


def test_the_demo_keeps_to_its_own_folders(tmp_path: Path) -> None:
    for name, value in demo.surroundings(tmp_path).items():
        assert value == "1" or Path(value).is_relative_to(tmp_path), name
    work = tmp_path / "work"
    demo.copy_examples(work)
    assert (work / demo.FIRST_NOTEBOOK).exists()
    (work / demo.FIRST_NOTEBOOK).write_text("mine")
    demo.copy_examples(work)
    assert (work / demo.FIRST_NOTEBOOK).read_text() == "mine", "work of the person's is never overwritten"


def test_status_into_a_closed_pipe_says_nothing() -> None:
    program = "import sys; from swangpu import cli; sys.exit(cli.main(['doctor', '--json']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr
