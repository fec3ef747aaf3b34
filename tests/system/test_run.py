"""``swangpu run``: a share for a command, whatever happens to either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from server_process import ServerProcess
from system.driving import DEVICES, FLAVOR, all_given_back, command, live_sessions


def start_run(live: ServerProcess, *program: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(live, "run", "--flavor", FLAVOR, "--", *program),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=live.environment(),
        # A group of its own, as a shell gives it: the group of a test run that nobody started from a terminal is
        # orphaned, and the system never stops such a one.
        preexec_fn=os.setpgrp,
        **more,
    )


def test_run_holds_a_share_for_a_command_and_passes_its_exit_code(live: ServerProcess) -> None:
    done = subprocess.run(
        command(live, "run", "--flavor", FLAVOR, "--", sys.executable, "-c", f"{DEVICES}; raise SystemExit(7)"),
        capture_output=True,
        text=True,
        env=live.environment(),
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout.startswith(("GPU-", "MIG-"))
    assert "swangpu: On" in done.stderr
    all_given_back(live)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_run_passes_signals_on_and_ends_as_its_command(live: ServerProcess, number: signal.Signals) -> None:
    running = start_run(live, "sh", "-c", "echo up; exec sleep 100")
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.send_signal(number)
    assert running.wait(30) == -number
    running.communicate()
    all_given_back(live)


def test_run_lets_its_command_handle_a_signal(live: ServerProcess) -> None:
    program = "import signal, sys; signal.signal(15, lambda *a: sys.exit(3)); print('up', flush=True); signal.pause()"
    running = start_run(live, sys.executable, "-c", program)
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.terminate()
    assert running.wait(30) == 3
    running.communicate()
    all_given_back(live)


def test_run_stops_and_goes_on_with_its_command(live: ServerProcess) -> None:
    running = start_run(live, "sh", "-c", "echo $$; read line; echo went on", stdin=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdin is not None
    child = int(running.stdout.readline())
    running.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(running.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert process_state(child) == "T"
    running.send_signal(signal.SIGCONT)
    running.stdin.write("\n")
    running.stdin.close()
    assert running.stdout.read() == "went on\n"
    assert running.wait(30) == 0
    close(running)
    all_given_back(live)


def close(running: subprocess.Popen[str]) -> None:
    for pipe in (running.stdin, running.stdout, running.stderr):
        if pipe is not None:
            pipe.close()


def process_state(pid: int) -> str:
    import psutil

    return {psutil.STATUS_STOPPED: "T"}.get(psutil.Process(pid).status(), "other")


def test_a_share_outlives_a_killed_run_only_as_long_as_its_command(live: ServerProcess) -> None:
    running = start_run(live, "sh", "-c", "echo up; read line; exit 0", stdin=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdin is not None
    assert running.stdout.readline() == "up\n"
    running.kill()
    running.wait()
    assert live_sessions(live), "its command still computes on it"
    close(running)
    all_given_back(live)


def test_run_says_what_cannot_be_run(live: ServerProcess) -> None:
    running = start_run(live, "no-such-program-here")
    _, said = running.communicate(timeout=60)
    assert running.returncode == 127
    assert "no such file" in said
    assert "Traceback" not in said
    all_given_back(live)


def test_run_waits_in_the_queue_and_shows_it(live: ServerProcess) -> None:
    taken = []
    while live.call("GET", "/offers", params={"flavor": "a100-40gb"}).json()["items"][0]["free"]:
        answer = live.call("POST", "/sessions", {"flavor": "a100-40gb", "duration_s": 3600})
        taken.append(answer.json()["id"])
    running = subprocess.Popen(
        command(live, "run", "--flavor", "a100-40gb", "--", "echo", "ran"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=live.environment(),
    )
    assert running.stderr is not None
    assert "1st in the queue" in running.stderr.readline()
    for session_id in taken:
        live.call("DELETE", f"/sessions/{session_id}")
    out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "ran\n")
    given_up = subprocess.run(
        command(live, "run", "--flavor", "a100-40gb", "--wait", "1s", "--", "echo", "ran"),
        capture_output=True,
        text=True,
        env=live.environment(),
        check=False,
    )
    assert given_up.returncode in (0, 1)
    all_given_back(live)


def test_status_and_reports(live: ServerProcess) -> None:
    def said(*words: str) -> str:
        return subprocess.run(
            command(live, *words), capture_output=True, text=True, env=live.environment(), check=True
        ).stdout

    assert "GPUs that can be had" in said("status")
    assert set(json.loads(said("status", "--json"))) == {"offers", "pools", "sessions"}
    said("run", "--memory", "2GB", "--", sys.executable, "-c", "pass")
    all_given_back(live)
    assert "GPU-hours held" in said("report", "usage")
    assert said("report", "demand", "--by", "flavor", "--csv").startswith("key,")
    assert "items" in json.loads(said("report", "usage", "--json"))
