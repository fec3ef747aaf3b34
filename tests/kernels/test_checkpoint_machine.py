"""Whether a machine can suspend processes, and what was recorded of trying it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.kernels import checkpoint_machine, checkpoint_record
from swangpu.kernels.checkpoint_machine import DeviceFacts, Machine, full_map, judge
from swangpu.kernels.checkpoint_record import Passed

PROGRAM = Path("/opt/bin/cuda-checkpoint")
A, B = (f"GPU-00000000-0000-0000-0000-{i:012d}" for i in range(2))

MACHINE = Machine("linux", "x86_64", "boot", 1000, "580.65.06", PROGRAM, "digest", True)
HERE = Passed("boot", "580.65.06", "digest", 1000, {"L4": True})
TWO = (DeviceFacts(A, "L4"), DeviceFacts(B, "L4"))


def changed(**changes: Any) -> Machine:
    return dataclasses.replace(MACHINE, **changes)


@pytest.mark.parametrize(
    ("machine", "devices", "passed", "code"),
    [
        (changed(system="darwin"), TWO, HERE, "not_linux"),
        (changed(architecture="ppc64le"), TWO, HERE, "architecture"),
        (changed(driver_version=""), TWO, HERE, "no_driver"),
        (changed(driver_version="535.104"), TWO, HERE, "driver_too_old"),
        (changed(driver_version="550.54.14"), TWO, HERE, "driver_too_old"),
        (changed(architecture="aarch64"), TWO, HERE, "driver_too_old"),
        (changed(program=None), TWO, HERE, "program_not_found"),
        (MACHINE, (), HERE, "no_device"),
        (MACHINE, (DeviceFacts(A, "L4", mig=True),), HERE, "mig"),
        (changed(may_trace=False, ptrace_scope=1), TWO, None, "no_ptrace_right"),
        (MACHINE, TWO, None, "not_tested"),
        (MACHINE, (DeviceFacts(A, "T4"),), HERE, "not_tested"),
        (MACHINE, TWO, HERE, "ok"),
        # that it worked says more than what the system's settings let us guess
        (changed(may_trace=False, ptrace_scope=1), TWO, HERE, "ok"),
        (changed(architecture="aarch64", driver_version="595.1"), TWO, None, "not_tested"),
    ],
)
def test_what_is_in_the_way(
    machine: Machine, devices: tuple[DeviceFacts, ...], passed: Passed | None, code: str
) -> None:
    able = judge(machine, devices, passed)
    assert (able.suspend.code, able.suspend.able) == (code, code == "ok")
    assert able.suspend.text.endswith(".") or able.suspend.able
    if code != "ok":
        assert able.remap == able.suspend


@pytest.mark.parametrize(
    "changes", [{"boot_id": "x"}, {"driver_version": "581.1"}, {"program_digest": "x"}, {"user_id": 0}]
)
def test_when_anything_is_another_it_has_not_passed(changes: dict[str, Any]) -> None:
    able = judge(changed(**changes), TWO, HERE)
    assert (able.suspend.able, able.suspend.code) == (False, "not_tested")
    assert "another" in able.suspend.text


@pytest.mark.parametrize(
    ("machine", "devices", "passed", "code"),
    [
        (MACHINE, TWO, HERE, "ok"),
        (MACHINE, TWO, dataclasses.replace(HERE, remaps={"L4": False}), "remap_not_passed"),
        (MACHINE, (DeviceFacts(A, "L4"), DeviceFacts(B, "T4")), HERE, "no_equal_device"),
        (
            changed(driver_version="575.1"),
            TWO,
            dataclasses.replace(HERE, driver_version="575.1"),
            "driver_too_old_for_remap",
        ),
    ],
)
def test_coming_back_on_another_device(
    machine: Machine, devices: tuple[DeviceFacts, ...], passed: Passed, code: str
) -> None:
    able = judge(machine, devices, passed)
    assert able.suspend.able
    assert able.remap.code == code


def test_the_test_itself_is_tried_whatever_the_system_seems_to_forbid() -> None:
    able = judge(changed(may_trace=False, ptrace_scope=1), TWO, None, trying=True)
    assert able.suspend.able
    assert able.remap.able


def test_the_drivers_own_word_on_its_version() -> None:
    proprietary = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U16)"
    assert checkpoint_machine.driver_version(proprietary) == "550.54.14"
    assert checkpoint_machine.driver_version(opened) == "580.65.06"
    assert checkpoint_machine.driver_version("") == ""
    assert [checkpoint_machine.major(text) for text in ("580.65.06", "", "x.1")] == [580, 0, 0]


def test_this_machine_can_be_looked_at() -> None:
    found = checkpoint_machine.look()
    assert found.system == sys.platform
    assert found.user_id == os.getuid()


@given(st.data())
def test_a_map_names_every_device_once_on_each_side(data: st.DataObject) -> None:
    models = data.draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=6))
    devices = [DeviceFacts(f"gpu{i}", model) for i, model in enumerate(models)]
    uuids = [device.uuid for device in devices]
    moves = data.draw(st.dictionaries(st.sampled_from(uuids), st.sampled_from([*uuids, "gone"]), max_size=4))
    full = full_map(moves, devices)
    model_of = {device.uuid: device.model for device in devices}
    good = len(set(moves.values())) == len(moves) and all(
        model_of[old] == model_of.get(new) for old, new in moves.items()
    )
    if not good:
        assert isinstance(full, str)
        return
    assert isinstance(full, dict)
    assert set(full) == set(full.values()) == set(uuids)
    assert moves.items() <= full.items()
    assert all(model_of[old] == model_of[new] for old, new in full.items())
    untouched = set(uuids) - set(moves) - set(moves.values())
    assert all(full[uuid] == uuid for uuid in untouched)


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    place = checkpoint_record.record_path(tmp_path)
    assert checkpoint_record.read(place) is None
    passed = Passed("boot", "580.1", "digest", 1000, {"L4": True, "T4": False}, 12.5)
    checkpoint_record.write(place, passed)
    assert checkpoint_record.read(place) == passed
    assert place.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"remaps": []},
        {"boot_id": ""},
        {"program_digest": None},
        {"user_id": "0"},
        {"tried_at": None},
    ],
)
def test_a_record_that_is_not_whole_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    place = tmp_path / "record.json"
    checkpoint_record.write(place, HERE)
    said = json.loads(place.read_text())
    place.write_text(json.dumps({**said, **change}))
    assert checkpoint_record.read(place) is None
    place.write_text("{")
    assert checkpoint_record.read(place) is None


def test_another_program_has_another_digest(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1" * 3_000_000)
    other.write_bytes(b"1" * 3_000_001)
    assert checkpoint_record.digest(one) != checkpoint_record.digest(other)
    assert checkpoint_record.digest(tmp_path / "none") == ""
