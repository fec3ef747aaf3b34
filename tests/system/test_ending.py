"""A server that is asked to end ends, whatever is under way."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from live_kernel import LiveKernel
from server_process import ENDS, ServerProcess, eventually


@pytest.mark.parametrize("attempt", range(2))
def test_while_a_notebook_is_put_on_its_gpu(tmp_path: Path, attempt: int) -> None:
    """Its kernel is being restarted just then."""
    server = ServerProcess(tmp_path, "--SwanGpu.undo_s=0").start()
    try:
        kernel = LiveKernel(server, "fit.ipynb")
        body = {"flavor": "a100-40gb", "attach": {"kernel_id": kernel.id}}
        session_id = server.call("POST", "/sessions", body).json()["id"]
        eventually(lambda: server.call("GET", f"/sessions/{session_id}").json()["state"] == "active")
        assert server.process is not None
        server.note(ENDS)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(25)
        assert "InvalidStateError" not in server.log()
        # the GPU is still hers: the notebook's next kernel can be put on it
        assert server.start().call("GET", f"/sessions/{session_id}").json()["state"] == "active"
    finally:
        server.stop()
        server.kill_agents()
    server.check_log()
