"""Kernels that can't move their arrays take turns on one GPU: a real server on stand-ins of driver and program.

What a person sees: the state of the session, its reason, what they are told, and what comes out of cells.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from suspending_site import NO_OFFLOAD, Site, another, computing, get, on_it, session, taken_by_another, told

from live_kernel import LiveKernel
from server_process import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")


def test_two_notebooks_take_turns(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    gan, second = taken_by_another(site, server, first)
    assert site.state_of(pid) == "checkpointed"
    assert session(server, first)["reason"]["code"] == "paused"
    assert gan.run("print('computes')").strip() == "computes"
    out = fit.run("precious.append(4); print(precious)")
    assert "Getting your GPU back" in out
    assert "[1, 2, 3, 4]" in out
    assert site.state_of(pid) == "running"
    assert session(server, first)["state"] == "active"
    eventually(lambda: session(server, second)["state"] == "paused")
    assert told(server) == {}


def test_a_kernel_of_another_language(site: Site) -> None:
    server = site.server()
    install = [sys.executable, "-m", "bash_kernel.install", "--user"]
    subprocess.run(install, env=server.environment(), check=True, capture_output=True)
    shell = LiveKernel(server, "shell.ipynb", "bash")
    first = get(server, shell, carry="none")
    eventually(lambda: on_it(server, first, shell))
    pid = site.uses(int(shell.run("precious=kept; echo $$")))
    taken_by_another(site, server, first)
    assert site.state_of(pid) == "checkpointed"
    assert "kept" in shell.run("echo $precious")
    assert session(server, first)["state"] == "active"


def test_the_kernel_itself_goes_first(site: Site) -> None:
    server = site.server()
    fit, first, pid = computing(site, server)
    taken_by_another(site, server, first)
    assert site.cuda.actions() == []
    assert site.state_of(pid) == "running"
    assert "[1, 2, 3]" in fit.run("print(precious)")


def test_the_owner_pauses_and_resumes(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    eventually(lambda: session(server, first)["shares"] == [])
    assert site.state_of(pid) == "checkpointed"
    site.shown()
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    eventually(lambda: session(server, first)["state"] == "active")
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"


def test_there_is_no_room_in_host_memory_among_paused_sessions(site: Site) -> None:
    server = site.server(NO_OFFLOAD, "--SwanGpu.paused_memory_bytes=4000000")
    fit, first, pid = computing(site, server)
    _gan, second = another(server)
    said = eventually(lambda: (s := session(server, first))["state"] == "active" and s["reason"])
    needs = "It needs 67 MB of host memory, and 4 MB are left for paused sessions."
    assert (said["code"], said["text"]) == ("no_room", f"It could not be paused for who waits. {needs}")
    assert server.call("GET", f"/sessions/{first}/explain").json()["reason"] == said
    assert session(server, second)["state"] == "queued"
    assert told(server) == {}, "nothing was done to it"
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    kept = eventually(
        lambda: (s := session(server, first))["state"] == "paused" and "why" in s["reason"]["params"] and s
    )
    assert kept["reason"]["code"] == "paused_held"
    assert kept["reason"]["text"] == f"Paused; its GPU is kept for it. {needs}"
    assert kept["shares"]
    assert "[1, 2, 3]" in fit.run("print(precious)"), "the next cell goes on at once"
    eventually(lambda: session(server, first)["state"] == "active")
    assert site.cuda.actions() == []
    assert site.state_of(pid) == "running"


def test_it_is_off_until_the_suspend_test_has_passed(site: Site) -> None:
    (record,) = site.home.glob(".local/share/jupyter/swangpu/suspend-test-*.json")
    record.unlink()
    server = site.server(NO_OFFLOAD, "--SwanGpu.idle_release_s=1")
    _fit, first, _pid = computing(site, server)
    another(server)
    eventually(lambda: "idle_ends" in told(server))
    assert session(server, first)["state"] == "active"
    assert not (site.cuda.folder / "calls").exists()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"lock": "fail:device not ready"}, None),
        ({"get_state": "fail:operation not permitted"}, None),
        ({"lock": "kill"}, "CUDA in it could not be stopped (the program was ended in the middle of it)"),
        ({"checkpoint": "fail:out of memory"}, "could not be saved (there was not enough memory)"),
    ],
)
def test_it_can_not_be_suspended_and_goes_on(site: Site, faults: dict[str, Any], words: str | None) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    site.cuda.faults(**faults)
    _gan, second = another(server)
    eventually(lambda: (site.cuda.folder / "calls").exists() and session(server, first)["state"] == "active")
    if words is not None:
        notice = eventually(lambda: told(server).get("not_paused"))
        assert (notice["level"], notice["session_id"]) == ("warning", first)
        assert notice["text"].startswith("T4 whole, 16 GB could not be paused: The kernel was not suspended:")
        assert words in notice["text"]
    else:
        assert told(server) == {}, "nothing was done to it"
    assert site.state_of(pid) == "running"
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"
    assert session(server, second)["state"] == "queued"


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        (
            {"checkpoint": "fail:unknown error@failed"},
            "state_failed",
            "could not be saved or brought back, and is lost",
        ),
        ({"checkpoint": "fail:x", "unlock": "fail:y"}, "still_locked", "CUDA in this kernel stays blocked"),
    ],
)
def test_lost_while_it_was_suspended(site: Site, faults: dict[str, Any], code: str, words: str) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, _pid = computing(site, server)
    site.cuda.faults(**faults)
    gan, second = another(server)
    ended = eventually(lambda: (s := session(server, first))["state"] == "ended" and s)
    assert ended["end_reason"] == "lost"
    assert ended["reason"]["code"] == code
    assert words in ended["reason"]["text"]
    notice = told(server)[code]
    assert notice["level"] == "error"
    assert "What was only on the GPU is lost. The kernel restarts without a GPU, with its other" in notice["text"]
    assert fit.run("print(precious, os.environ.get('CUDA_VISIBLE_DEVICES'))").strip() == "[1, 2, 3] None"
    eventually(lambda: on_it(server, second, gan))


def test_lost_while_it_came_back(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    taken_by_another(site, server, first)
    site.cuda.faults(restore="fail:unknown error@failed")
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    eventually(lambda: session(server, first)["state"] == "ending")
    # the stand-in stops the whole process, and not only CUDA in it
    os.kill(pid, signal.SIGCONT)
    ended = eventually(lambda: (s := session(server, first))["state"] == "ended" and s)
    assert (ended["end_reason"], ended["reason"]["code"]) == ("lost", "state_failed")
    assert "What was only on the GPU is lost" in told(server)["state_failed"]["text"]
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"


def test_what_does_not_come_back_at_once_is_tried_again(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, _pid = computing(site, server)
    taken_by_another(site, server, first)
    site.cuda.faults(restore=["fail:out of memory", ""])
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert site.cuda.actions() == ["lock", "checkpoint", "restore", "restore", "unlock"]
    assert session(server, first)["state"] == "active"
    assert told(server) == {}


def test_kill_9_while_suspended_and_it_goes_on(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    gan, second = taken_by_another(site, server, first)
    server.kill()
    again = site.server(NO_OFFLOAD, port=server.port)
    fit.server = gan.server = again
    eventually(lambda: session(again, second)["kernel_ids"] == [gan.id])
    assert session(again, first)["state"] == "paused"
    assert site.state_of(pid) == "checkpointed"
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert site.state_of(pid) == "running"
    assert session(again, first)["state"] == "active"


@pytest.mark.parametrize("then", ["hang", "wait"])
def test_kill_9_in_the_middle_of_it(site: Site, then: str) -> None:
    """The program goes on without the server, or leaves CUDA locked."""
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    site.cuda.faults(checkpoint=[then, ""])
    _gan, second = another(server)
    eventually(lambda: site.state_of(pid) == "locked" and "checkpoint" in site.cuda.actions())
    server.kill()
    (site.cuda.folder / "go").touch()
    if then == "wait":
        eventually(lambda: site.state_of(pid) == "checkpointed")
        site.shown()
    again = site.server(NO_OFFLOAD, port=server.port)
    fit.server = again
    eventually(lambda: session(again, second)["state"] == "active")
    assert session(again, first)["shares"] == []
    assert site.state_of(pid) == "checkpointed"
    site.shown()
    again.call("DELETE", f"/sessions/{second}")
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert session(again, first)["state"] == "active"
