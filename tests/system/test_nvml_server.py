"""A real server on the C library: what a person is shown in each state of the driver, while the states change."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from needs import missing, tool
from nvml.sim import GPU, NvmlSim, nvml, nvml_library  # noqa: F401
from server_process import API, ServerProcess, eventually
from swangpu.telemetry.pids import in_host_pid_namespace

EIGHT = "gpus 8\n" + "\n".join(
    f"gpu.{i}.name NVIDIA A100-SXM4-40GB\ngpu.{i}.memory_mib 40960\ngpu.{i}.util {10 * i}\ngpu.{i}.used_mib 512"
    for i in range(8)
)
TWO_CUT = EIGHT + "\ngpu.2.mig 7 1g.5gb 4864\ngpu.5.mig 7 1g.5gb 4864\n"

WHOLE, SLICE = "a100-40gb", "a100-40gb/1g.5gb"

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(nvml: NvmlSim, tmp_path: Path) -> Iterator[Start]:  # noqa: F811
    """Starts servers on the C library; none of them may have a traceback in its log."""
    started: list[ServerProcess] = []

    def go(*arguments: str, library: bool = True, launcher: tuple[str, ...] = ()) -> ServerProcess:
        variables = nvml.variables(library=library)
        one = ServerProcess(tmp_path, *arguments, simulated=False, variables=variables, launcher=launcher)
        started.append(one)
        return one.start()

    yield go
    for one in started:
        one.stop()
    for one in started:
        one.check_log()


def get(server: ServerProcess, path: str, **query: str) -> dict[str, Any]:
    answer = server.call("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def pool_of(server: ServerProcess) -> dict[str, Any]:
    (pool,) = get(server, "/pools")["items"]
    assert not pool["simulated"]
    return dict(pool)


def flavors(server: ServerProcess) -> dict[str, dict[str, Any]]:
    return {f["name"]: f for f in pool_of(server)["flavors"]}


def device(server: ServerProcess, index: int) -> dict[str, Any]:
    return dict(next(d for d in get(server, "/devices")["items"] if d["index"] == index))


def events(server: ServerProcess, topic: str) -> list[dict[str, Any]]:
    """The first event of a topic that the stream has to tell."""
    text = server.call("GET", "/stream", params={"topics": topic, "limit": "2"}).text
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [json.loads(b["data"]) for b in blocks if b.get("event") == topic.split(",")[0]]


def notices(server: ServerProcess) -> dict[str, dict[str, Any]]:
    (said,) = events(server, "notices")
    return {n["code"]: n for n in said["items"]}


def hold(server: ServerProcess, flavor: str, **more: Any) -> dict[str, Any]:
    asked = server.call("POST", "/sessions", {"flavor": flavor, "kind": "job", **more})
    assert asked.status_code == 201, asked.text
    held = server.call("POST", f"/sessions/{asked.json()['id']}/claim")
    assert held.json()["state"] == "active", held.text
    return dict(held.json())


def session(server: ServerProcess, session_id: str) -> dict[str, Any]:
    return get(server, f"/sessions/{session_id}")


def test_eight_devices_of_which_two_are_cut_in_seven(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    nvml.state(TWO_CUT)
    server = start()
    seen = get(server, "/devices")
    assert seen["driver"] is None
    assert [d["index"] for d in seen["items"]] == list(range(8))
    assert [len(d["mig_devices"]) for d in seen["items"]] == [0, 0, 7, 0, 0, 7, 0, 0]
    assert {d["pool"] for d in seen["items"]} == {"local"}
    assert seen["items"][3]["sample"]["utilization_percent"] == 30.0
    assert seen["items"][2]["sample"]["missing"]["utilization_percent"] == "not_supported"
    pool = pool_of(server)
    assert pool["available"]
    assert pool["reason"] is None
    assert {f["name"]: (f["free"], f["total"]) for f in pool["flavors"]} == {WHOLE: (6, 6), SLICE: (14, 14)}
    offered = {o["flavor"]: o for o in get(server, "/offers", memory_bytes="1000000000")["items"]}
    assert offered[SLICE]["title"] == "A100 slice, 5 GB"
    assert offered[WHOLE]["free"] == 6

    held = hold(server, SLICE)
    assert held["environment"]["CUDA_VISIBLE_DEVICES"] == held["shares"][0]["mig_uuid"]
    assert flavors(server)[SLICE]["free"] == 13
    (told,) = events(server, "telemetry,devices")
    assert {GPU.format(i) for i in range(8)} <= set(told["samples"])
    assert held["id"] in told["sessions"]

    # Somebody cuts another device, and one is taken out of MIG mode, while the server runs.
    nvml.state(EIGHT + "\ngpu.2.mig 7 1g.5gb 4864\ngpu.3.mig 2 3g.20gb 19968\n")
    eventually(lambda: flavors(server).get("a100-40gb/3g.20gb", {}).get("free") == 2)
    assert flavors(server)[WHOLE]["total"] == 6


def test_without_the_library_it_says_so_and_the_rest_works(start: Start) -> None:
    server = start(library=False)
    seen = get(server, "/devices")
    assert seen["items"] == []
    assert seen["driver"]["code"] == "library_missing"
    assert seen["driver"]["text"] == "No NVIDIA driver here (libnvidia-ml not found)."
    pool = pool_of(server)
    assert not pool["available"]
    assert pool["reason"]["code"] == "library_missing"
    assert "install the driver" in pool["hint"]
    assert get(server, "/offers", memory_bytes="1000000000")["items"] == []
    refused = server.call("POST", "/sessions", {"memory_bytes": 10**9, "kind": "job"})
    assert 400 <= refused.status_code < 500
    assert "No NVIDIA driver here" in refused.text
    (told,) = events(server, "pools")
    assert told["items"][0]["reason"]["code"] == "library_missing"


def test_a_driver_that_is_loaded_later_is_found(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    nvml.state("gpus 1\nfail nvmlInitWithFlags 9")
    server = start()
    pool = pool_of(server)
    assert not pool["available"]
    assert pool["reason"] == {"code": "driver_not_loaded", "params": {}, "text": "The NVIDIA driver is not loaded."}
    assert "modprobe nvidia" in pool["hint"]
    assert get(server, "/devices")["driver"]["code"] == "driver_not_loaded"
    nvml.state("gpus 1")
    eventually(lambda: flavors(server).get("t4", {}).get("free") == 1)
    assert get(server, "/devices")["driver"] is None
    nvml.state("gpus 1\nfail * 9")
    eventually(lambda: pool_of(server)["reason"])
    assert pool_of(server)["reason"]["code"] == "driver_not_loaded"
    assert device(server, 0)["lost"]["code"] == "lost"


def test_a_device_is_lost_and_comes_back(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    nvml.state(TWO_CUT)
    server = start()
    held = hold(server, WHOLE)
    index = int(held["shares"][0]["device_uuid"][-2:])
    nvml.state(TWO_CUT + f"gpu.{index}.lost 1\n")
    warned = eventually(lambda: session(server, held["id"])["warning"])
    assert warned["code"] == "device_away"
    assert session(server, held["id"])["state"] == "active"
    assert device(server, index)["lost"]["code"] == "lost"
    pool = pool_of(server)
    assert pool["available"]
    assert pool["reason"]["text"] == f"GPU {index} does not answer now."
    assert flavors(server)[WHOLE]["total"] == 5
    assert "waits" in notices(server)["device_away"]["text"]
    nvml.state(TWO_CUT)
    eventually(lambda: session(server, held["id"])["warning"] is None, 40)
    assert notices(server)["device_back"]["level"] == "success"
    assert device(server, index)["lost"] is None
    assert pool_of(server)["reason"] is None
    assert session(server, held["id"])["shares"] == held["shares"]


def test_no_permission(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    nvml.state("gpus 2\nfail nvmlInitWithFlags 4")
    server = start()
    for state in ("fail nvmlInitWithFlags 4", "gpu.0.fail * 4\ngpu.1.fail * 4"):
        nvml.state(f"gpus 2\n{state}")
        pool = eventually(lambda: pool if (pool := pool_of(server))["reason"] else None)
        assert not pool["available"]
        assert pool["reason"]["code"] == "no_permission"
        assert "/dev/nvidia" in pool["hint"]
        nvml.state("gpus 2")
        eventually(lambda: flavors(server)["t4"]["free"] == 2)
    # Access to one device is taken away while the server runs.
    nvml.state("gpus 2\ngpu.1.fail * 4")
    eventually(lambda: device(server, 1)["lost"])
    assert device(server, 1)["lost"]["code"] == "no_permission"
    pool = eventually(lambda: pool if (pool := pool_of(server))["reason"] else None)
    assert pool["available"]
    assert pool["reason"]["code"] == "no_permission"
    assert "GPU 1 may not be used by this account" in pool["reason"]["text"]
    assert flavors(server)["t4"]["total"] == 1


def foreign() -> tuple[str, ...]:
    """What starts a server in a PID namespace of its own, as a container does."""
    if sys.platform != "linux":
        pytest.skip("PID namespaces are Linux's")
    if not in_host_pid_namespace():
        return ()
    command = (tool("unshare") or "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if tool("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        missing("this machine gives us no PID namespace")
    return command


def test_processes_of_another_pid_namespace(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    strangers = "gpu.0.proc 3999999 100\ngpu.1.proc 3999999 100\ngpu.2.proc 3999999 100 3\n"
    nvml.state(TWO_CUT + strangers + "gpu.1.name Tesla T4\ngpu.1.memory_mib 15360\n")
    server = start('--SwanGpu.slices_per_model={"T4": 4}', launcher=foreign())
    try:
        seen = device(server, 0)
        assert seen["sample"]["missing"]["processes"] == "not_visible"
        assert seen["sample"]["process_count"] is None
        assert seen["lost"] is None
        counted = flavors(server)
        assert (counted[WHOLE]["taken"], counted[WHOLE]["total"]) == (1, 5)
        assert (counted[SLICE]["taken"], counted[SLICE]["total"]) == (1, 14)
        assert (counted["t4/time-4"]["taken"], counted["t4/time-4"]["free"]) == (0, 4)
        reason = pool_of(server)["reason"]
        assert reason["code"] == "processes_not_visible"
        assert (
            reason["text"] == "Processes on GPU 0, GPU 2 are not visible from here, so what they use counts as taken."
        )
        nvml.state(TWO_CUT)
        eventually(lambda: pool_of(server)["reason"] is None)
        assert flavors(server)[WHOLE]["taken"] == 0
    finally:
        # unshare does not pass signals on.
        with server.client() as client:
            client.post("/api/shutdown")


def test_a_call_that_hangs_holds_up_nobody(start: Start, nvml: NvmlSim) -> None:  # noqa: F811
    nvml.state(TWO_CUT)
    server = start()
    assert flavors(server)[WHOLE]["free"] == 6
    nvml.state(TWO_CUT + "gpu.3.hang nvmlDeviceGetMemoryInfo_v2 10\ngpu.4.util 44\n")
    began, began_at = time.monotonic(), time.time()
    slowest = 0.0
    with server.client() as client, server.client() as other:
        while time.monotonic() - began < 6:
            asked = time.monotonic()
            assert client.get("/api/status").status_code == 200
            slowest = max(slowest, time.monotonic() - asked)
            with contextlib.suppress(httpx.TimeoutException):
                # Starts a reading of the driver, and does not wait for it.
                other.get(f"{API}/devices", timeout=0.05)
    assert slowest < 1.0
    lost = device(server, 3)["lost"]
    assert lost["code"] == "device_silent"
    assert began_at <= lost["params"]["since"] <= time.time()
    since = time.strftime("%H:%M UTC", time.gmtime(lost["params"]["since"]))
    assert lost["text"] == f"It has not answered since {since}: the driver takes too long."
    assert device(server, 4)["sample"]["utilization_percent"] == 44.0
    pool = eventually(lambda: pool if (pool := pool_of(server))["reason"] else None)
    assert pool["available"]
    assert pool["reason"]["text"] == "GPU 3 does not answer now."
    assert flavors(server)[WHOLE]["free"] == 5
    nvml.state(TWO_CUT)
    eventually(lambda: flavors(server)[WHOLE]["free"] == 6, 40)


def test_who_uses_more_than_a_time_slice_is_told_and_whom_it_hurts(
    start: Start,
    nvml: NvmlSim,  # noqa: F811
) -> None:
    nvml.state("gpus 1")
    server = start('--SwanGpu.slices_per_model={"T4": 4}')
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])"
    workers = [subprocess.Popen([sys.executable, "-c", program], start_new_session=True) for _ in range(2)]
    try:
        pids = [str(w.pid) for w in workers]
        greedy, modest = (hold(server, "t4/time-4", options={"pid": pid})["id"] for pid in pids)
        nvml.state(f"gpus 1\ngpu.0.proc {pids[0]} 3000\ngpu.0.proc {pids[1]} 3000\n")
        assert eventually(lambda: device(server, 0)["sample"]["process_count"] == 2)
        assert session(server, greedy)["warning"] is None
        nvml.state(f"gpus 1\ngpu.0.proc {pids[0]} 9000\ngpu.0.proc {pids[1]} 3000\n")

        def warning(session_id: str) -> Any:
            get(server, "/devices")
            return session(server, session_id)["warning"]

        mine = eventually(lambda: warning(greedy))
        assert mine["code"] == "over_share"
        assert mine["params"]["used_bytes"] == 9000 * 2**20
        assert "uses 9.44 GB of GPU memory, and its share is 4.03 GB" in mine["text"]
        assert warning(modest)["code"] == "crowded_share"
        told = notices(server)
        assert told["over_share"]["session_id"] == greedy
        assert told["crowded_share"]["session_id"] == modest
        assert flavors(server)["t4/time-4"]["free"] == 2

        nvml.state(f"gpus 1\ngpu.0.proc {pids[0]} 3000\ngpu.0.proc {pids[1]} 3000\n")
        eventually(lambda: warning(greedy) is None and warning(modest) is None)
        nvml.state(f"gpus 1\ngpu.0.proc {pids[0]} 9000\ngpu.0.proc {pids[1]} 3000\n")
        eventually(lambda: warning(greedy))
        (said,) = events(server, "notices")
        assert [n["code"] for n in said["items"]].count("over_share") == 1
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_damaged_ledger_is_told_to_the_person_and_by_the_doctor(start: Start, tmp_path: Path) -> None:
    first = start()
    assert get(first, "/sessions")["items"] == []
    first.stop()
    (ledger,) = tmp_path.rglob("ledger-*.sqlite")
    ledger.write_bytes(b"not a database at all" * 1000)
    again = start()
    assert get(again, "/sessions")["items"] == []
    said = notices(again)["ledger_put_aside"]
    assert said["session_id"] is None
    aside = Path(said["params"]["path"])
    assert aside.read_bytes().startswith(b"not a database")
    done = subprocess.run(
        [sys.executable, "-m", "swangpu.cli", "doctor", "--json"],
        env=again.environment(),
        capture_output=True,
        text=True,
    )
    (found,) = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "ledger"]
    assert found["status"] == "warning"
    assert str(aside) in found["text"]
