"""Paused notebooks that go on with another GPU: a real server on stand-ins of driver and program."""

from __future__ import annotations

import sys

import pytest
from suspending_site import DRIVER, NO_OFFLOAD, Site, computing, get, on_it, session, told

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually
from suspend.sim import GPU, MODEL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")


@pytest.fixture
def two(site: Site) -> Site:
    """Two GPUs of one model, and the suspend test has passed for coming back on the other."""
    site.gpus = 2
    site.cuda.devices(MODEL, MODEL)
    site.shown()
    site.passed(remaps=True)
    return site


def on_the_other(site: Site, server: ServerProcess) -> tuple[LiveKernel, str, int, str]:
    """A notebook that was paused, and its GPU is somebody else's; the other one is free. With who has its GPU."""
    fit, first, pid = computing(site, server)
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    eventually(lambda: session(server, first)["shares"] == [])
    site.shown()
    others = [server.call("POST", "/sessions", {"flavor": "t4", "kind": "job"}).json()["id"] for _ in range(2)]
    for other in others:
        server.call("POST", f"/sessions/{other}/claim")
    where = {session(server, other)["shares"][0]["device_uuid"]: other for other in others}
    server.call("DELETE", f"/sessions/{where[GPU.format(1)]}")
    return fit, first, pid, where[GPU.format(0)]


def test_a_suspended_notebook_goes_on_with_another_gpu_of_the_same_model(two: Site) -> None:
    server = two.server(NO_OFFLOAD)
    fit, first, pid, _ = on_the_other(two, server)
    out = fit.run("precious.append(4); print(precious, os.environ['CUDA_VISIBLE_DEVICES'])")
    assert out.strip().splitlines()[-1] == f"[1, 2, 3, 4] {GPU.format(1)}"
    assert session(server, first)["shares"][0]["device_uuid"] == GPU.format(1)
    assert (two.cuda.folder / f"{pid}.mem").read_text().split()[0] == GPU.format(1)
    assert told(server) == {}


def test_where_the_driver_refuses_the_other_gpu_it_waits_for_its_own(two: Site) -> None:
    server = two.server(NO_OFFLOAD)
    fit, first, pid, in_the_way = on_the_other(two, server)
    two.cuda.faults(restore=["fail:invalid argument", ""])
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    own = "Its own GPU is in use, and what was put aside can go on with no other."
    eventually(lambda: own in ((session(server, first)["reason"] or {}).get("text") or ""))
    server.call("DELETE", f"/sessions/{in_the_way}")
    eventually(lambda: session(server, first)["state"] == "active")
    assert session(server, first)["shares"][0]["device_uuid"] == GPU.format(0)
    assert fit.run("print(precious, os.environ['CUDA_VISIBLE_DEVICES'])").strip() == f"[1, 2, 3] {GPU.format(0)}"
    assert two.state_of(pid) == "running"


def test_a_notebook_that_has_not_used_its_gpu_comes_back_on_another(site: Site) -> None:
    site.nvml.state(f"driver {DRIVER}\ngpus 2\ngpu.0.name {MODEL}\ngpu.1.name {MODEL}")
    server = site.server()
    where = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    fit = LiveKernel(server, "fit.ipynb")
    first = get(server, fit)
    eventually(lambda: on_it(server, first, fit))
    before = fit.run(where).strip()
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    eventually(lambda: session(server, first)["shares"] == [])
    # both are somebody's, and then the other one is free
    others = [server.call("POST", "/sessions", {"flavor": "t4", "kind": "job"}).json() for _ in range(2)]
    for other in others:
        server.call("POST", f"/sessions/{other['id']}/claim")
    (free,) = [o["id"] for o in others if session(server, o["id"])["shares"][0]["device_uuid"] != before]
    server.call("DELETE", f"/sessions/{free}")
    after = fit.run(f"before = 'kept'; {where}").strip().splitlines()[-1]
    assert {before, after} == {GPU.format(0), GPU.format(1)}
    assert session(server, first)["shares"][0]["device_uuid"] == after
    with server.client() as client:
        client.post(f"/api/kernels/{fit.id}/restart")
    assert fit.run(where).strip() == after, "it stays there"
