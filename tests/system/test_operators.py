"""Who the site named sees which processes of others there are; who else is let in sees how many."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# fixtures: pytest finds them by these names, and gives them under the same (F401, F811)
from nvml.sim import NvmlSim, nvml, nvml_library  # noqa: F401
from server_process import ServerProcess
from swangpu.server.person import owner_name

NOBODY = 65534
TESTS = Path(__file__).parent.parent


@pytest.fixture
def foreign() -> Iterator[int]:
    """A process of another account: one that we may start as such, else the first of the machine."""
    if os.getuid() != 0:
        yield 1
        return
    # of no interpreter in a home that others can't enter
    process = subprocess.Popen(["sleep", "600"], user=NOBODY, cwd="/", start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def server(nvml: NvmlSim, foreign: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:  # noqa: F811
    nvml.state(f"gpus 1\ngpu.0.proc {foreign} 300\ngpu.0.proc {os.getpid()} 200")
    hub, *arguments = request.param
    variables = {**nvml.variables(), **({"JUPYTERHUB_USER": "ada"} if hub else {})}
    variables["PYTHONPATH"] = os.pathsep.join([str(TESTS / "without"), str(TESTS)])
    one = ServerProcess(
        tmp_path,
        "--ServerApp.identity_provider_class=people.People",
        *arguments,
        simulated=False,
        variables=variables,
    )
    yield one.start()
    one.stop()
    one.check_log()


def seen(server: ServerProcess, token: str) -> dict[str, Any]:
    answer = server.call("GET", "/processes", headers={"Authorization": f"token {token}"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("server", [(True, "--SwanGpu.operators=olga")], indirect=True)
def test_an_operator_sees_which_and_the_person_of_the_server_how_many(server: ServerProcess, foreign: int) -> None:
    theirs = seen(server, "t1")
    assert {p["pid"]: p["kind"] for p in theirs["items"]} == {foreign: "unheld", os.getpid(): "unheld"}
    assert theirs["hidden"] == []
    own = seen(server, "t0ken")
    assert [p["pid"] for p in own["items"]] == [os.getpid()]
    assert [(h["count"], h["memory_bytes"]) for h in own["hidden"]] == [(1, 300 * 2**20)]


@pytest.mark.parametrize("server", [(True,), (False, "--SwanGpu.operators=olga")], indirect=True)
def test_nobody_is_an_operator_who_was_not_named(server: ServerProcess) -> None:
    for token in ("t0ken", "t1"):
        assert [p["pid"] for p in seen(server, token)["items"]] == [os.getpid()]


@pytest.mark.parametrize("server", [(True, "--SwanGpu.operators=ada")], indirect=True)
def test_who_is_let_in_to_an_operators_server_is_none(server: ServerProcess, foreign: int) -> None:
    assert foreign in [p["pid"] for p in seen(server, "t0ken")["items"]]
    assert foreign not in [p["pid"] for p in seen(server, "t1")["items"]]


@pytest.mark.parametrize("server", [(False, f"--SwanGpu.operators={owner_name()}")], indirect=True)
def test_without_a_hub_all_who_are_let_in_are_the_one_person(server: ServerProcess, foreign: int) -> None:
    for token in ("t0ken", "t1"):
        assert foreign in [p["pid"] for p in seen(server, token)["items"]]
