"""A client that comes back hears what was said while it was away, however its server connects."""

from __future__ import annotations

from pathlib import Path

import zmq
from behind_agent import Attached, reply_to, text_of

from server_process import eventually

WAIT_MS = 30_000


def test_the_socket_that_a_server_tries_the_kernel_with_closes_before_another_listens(
    kernel: Attached, tmp_path: Path
) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    away = kernel.client
    cell = away.execute(
        "import pathlib, time\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        f"print('computed', flush=True); pathlib.Path({str(done)!r}).touch()"
    )
    while away.get_iopub_msg(timeout=30)["header"]["msg_type"] != "execute_input":
        pass
    away.stop_channels()
    # The agent answers this after it has seen that nobody listens any more.
    kernel.ask("status")
    go.touch()
    eventually(done.exists)

    back = kernel.manager.client()
    back.session.session = away.session.session
    tried = kernel.manager.connect_iopub()
    back.start_channels(iopub=False, stdin=False, hb=False, control=False)
    reply_to(back, back.kernel_info())
    tried.close(linger=0)
    listening = kernel.manager.connect_iopub()
    try:
        heard = ""
        while "computed" not in heard:
            assert listening.poll(WAIT_MS, zmq.POLLIN), "what was said while nobody listened is lost"
            _, frames = back.session.feed_identities(listening.recv_multipart())
            message = back.session.deserialize(frames)
            if message["parent_header"].get("msg_id") == cell:
                heard += text_of(message)
    finally:
        listening.close(linger=0)
        back.stop_channels()
