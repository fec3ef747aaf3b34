"""Most servers start, and end, without a look at a GPU: until somebody looks, next to nothing of ours is loaded."""

from __future__ import annotations

from pathlib import Path

from server_process import ServerProcess, eventually

#: what takes long to load: the broker's part, and the API
LATE = ("swangpu.broker", "swangpu.domain", "swangpu.runtime", "swangpu.api", "swangpu.telemetry", "swangpu.wire")


def loaded(server: ServerProcess) -> set[str]:
    """Which of it the server has loaded, as Python itself says in its log."""
    names = {line.rpartition("|")[2].strip() for line in server.log().splitlines() if line.startswith("import time:")}
    return {late for late in LATE if late in names}


def test_a_server_loads_the_broker_when_somebody_first_asks(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, variables={"PYTHONPROFILEIMPORTTIME": "1"}).start()
    try:
        with server.client() as client:
            kernel = client.post("/api/kernels", json={"name": "python3"}).json()["id"]
            assert client.get("/swangpu/nothing").status_code == 404
        assert loaded(server) == set(), "a plain notebook does without"
        assert client_refused(server) == 403
        assert loaded(server) >= {"swangpu.api"}
        session = server.call("POST", "/sessions", {"memory_bytes": 4e9, "attach": {"kernel_id": kernel}})
        assert session.status_code == 201, "a kernel that is older than the broker can get a share"
        eventually(lambda: server.call("GET", f"/sessions/{session.json()['id']}").json()["state"] == "active", 30)
    finally:
        server.stop()


def client_refused(server: ServerProcess) -> int:
    """The answer to somebody without a token."""
    with server.client() as client:
        return client.get("/swangpu/api/v1/pools", headers={"Authorization": ""}).status_code


def test_a_server_behind_a_prefix_answers_there_only(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--ServerApp.base_url=/user/a.b/")
    # what says that it is there is below the prefix too
    server.status_path = "/user/a.b/api/status"
    server.start()
    try:
        with server.client() as client:
            assert client.get("/user/a.b/swangpu/api/v1/pools").status_code == 200
            assert client.get("/user/axb/swangpu/api/v1/pools").status_code == 404
            assert client.get("/swangpu/api/v1/pools").status_code == 404
            assert client.get("/user/a.b/swangpu/api/v1/nothing").json()["code"] == "no_such_route"
            assert client.get("/user/a.b/swangpu/internal/v1/kernels").status_code == 403, "our token only"
    finally:
        server.stop()
