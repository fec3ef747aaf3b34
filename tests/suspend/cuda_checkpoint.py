"""A stand-in for NVIDIA's ``cuda-checkpoint`` program, for tests. It really stops and continues processes.

Its folder is named by SWANGPU_CUDA_SIM:

- ``devices``        one line each: UUID, bytes, model
- ``<pid>.mem``      what a process holds: UUID and bytes, one line each; a process without one does not use CUDA
- ``<pid>.state``    what ``--get-state`` says; ``running`` where there is none
- ``faults.json``    by what is asked for (``lock``, ``get-state``, …) how it goes wrong; a list is taken one by one
- ``calls``          what was asked for, line by line

A fault is one of: ``""`` (none), ``fail:WORDS`` (says that and ends with 1), ``fail:WORDS@STATE`` (and leaves the
process in that state), ``hang`` and ``kill`` (before anything is done), ``hang-after`` and ``kill-after`` (when it is),
``say:TEXT`` (says that and ends with 0), ``corrupt``, ``keep`` (restores something else; does not free the device),
``wait`` (goes on when there is a file ``go``).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

SIM = Path(os.environ["SWANGPU_CUDA_SIM"])


def fault_of(what: str) -> str:
    path = SIM / "faults.json"
    if not path.exists():
        return ""
    faults = json.loads(path.read_text())
    fault = faults.get(what, "")
    if isinstance(fault, list):
        first = fault.pop(0) if fault else ""
        path.write_text(json.dumps(faults))
        return first
    return fault


def value_of(*names: str) -> str:
    for name in names:
        if name in sys.argv:
            return sys.argv[sys.argv.index(name) + 1]
    return ""


def fail(verb: str, pid: int, words: str) -> None:
    print(f'Could not {verb} on process ID {pid}: "{words}"')
    sys.exit(1)


class Process:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.memory = SIM / f"{pid}.mem"
        self.file = SIM / f"{pid}.state"

    @property
    def state(self) -> str:
        return self.file.read_text().strip() if self.file.exists() else "running"

    @state.setter
    def state(self, state: str) -> None:
        self.file.write_text(state)


def remapped(process: Process, text: str) -> bool:
    """Whether the driver takes the map: every device once on both sides, and only between equals."""
    models = {}
    for line in (SIM / "devices").read_text().splitlines():
        uuid, _, model = line.split(" ", 2)
        models[uuid] = model
    pairs = dict(pair.split("=") for pair in text.split(","))
    if set(pairs) != set(models) or sorted(pairs.values()) != sorted(models):
        return False
    if any(models[old] != models[new] for old, new in pairs.items()):
        return False
    lines = [line.split() for line in process.memory.read_text().splitlines()]
    process.memory.write_text("".join(f"{pairs[uuid]} {size}\n" for uuid, size in lines))
    return True


def do(verb: str, process: Process, fault: str) -> None:
    pid = process.pid
    begins = {"lock": "running", "checkpoint": "locked", "restore": "checkpointed", "unlock": "locked"}
    if process.state != begins[verb]:
        fail(verb, pid, "illegal state")
    if verb == "lock":
        process.state = "locked"
    elif verb == "checkpoint":
        if fault == "keep":
            (SIM / f"{pid}.kept").touch()
        os.kill(pid, signal.SIGSTOP)
        process.state = "checkpointed"
    elif verb == "restore":
        map_ = value_of("--device-map", "-d")
        if map_ and not remapped(process, map_):
            fail(verb, pid, "invalid argument")
        if fault == "corrupt":
            (SIM / f"{pid}.corrupt").touch()
        os.kill(pid, signal.SIGCONT)
        process.state = "locked"
    else:
        process.state = "running"


def main() -> None:
    asked = next((w[2:] for w in ("--get-state", "--get-restore-tid") if w in sys.argv), value_of("--action"))
    process = Process(int(value_of("--pid", "-p")))
    with (SIM / "calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    fault = fault_of(asked) or fault_of("all")
    if fault == "hang":
        time.sleep(600)
    if fault == "wait":
        (SIM / "waits").touch()
        while not (SIM / "go").exists():
            time.sleep(0.01)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.startswith("fail:"):
        words, _, state = fault.removeprefix("fail:").partition("@")
        if state:
            process.state = state
        fail(asked, process.pid, words)
    if fault.startswith("say:"):
        print(fault.removeprefix("say:"))
        return
    if not process.memory.exists():
        fail(asked, process.pid, "initialization error")
    if asked == "get-state":
        print(process.state)
    elif asked == "get-restore-tid":
        print(process.pid)
    else:
        do(asked, process, fault)
    if fault == "hang-after":
        time.sleep(600)
    if fault == "kill-after":
        os.kill(os.getpid(), signal.SIGKILL)


main()
