"""Whose a process is: by its parents, by the environment it was started with, by a control group of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swangpu.domain.telemetry import DeviceInfo, MigInfo, ProcessUse, Sample
from swangpu.telemetry.attribution import Attributed, Owner, ProcessFacts, attribute

FIT, GAN = Owner("s1", "fit"), Owner("s2", "gan")
DEVICES = {"G0": DeviceInfo("G0", 0, "T4", 1), "G1": DeviceInfo("G1", 1, "A100", 1, True, (MigInfo("M0", "1g", 1),))}


def found(facts: list[ProcessFacts], owners: dict[int, Owner], **uses: list[int]) -> tuple[Attributed, ...]:
    known = {f.pid: f for f in facts}
    samples = {
        uuid: Sample(uuid, 0.0, processes=tuple(ProcessUse(p, 10, uuid if uuid[0] == "M" else None) for p in pids))
        for uuid, pids in uses.items()
    }
    return attribute(DEVICES, samples, owners, known.get)


def process(pid: int, parent: int, **more: object) -> ProcessFacts:
    return ProcessFacts(pid, parent, **{"user_id": 1000, "cgroup": "/server", **more})  # type: ignore[arg-type]


SERVER, KERNEL, OTHER = process(10, 1), process(20, 10), process(30, 10)


def test_a_child_of_a_kernel_belongs_to_its_notebook_and_a_stranger_to_nobody() -> None:
    facts = [SERVER, KERNEL, OTHER, process(21, 20), process(22, 21), process(99, 1)]
    said = found(facts, {20: FIT, 30: GAN}, G0=[99, 22, 30, 20])
    assert [(a.use.pid, a.owner, a.how) for a in said] == [
        (20, FIT, "tree"),
        (22, FIT, "tree"),
        (30, GAN, "tree"),
        (99, None, None),
    ]


def test_a_worker_whose_parent_has_ended_is_known_by_its_environment() -> None:
    orphan = process(50, 1, kernel_id="fit", session_id="s1")
    (said,) = found([SERVER, KERNEL, orphan], {20: FIT}, G0=[50])
    assert (said.owner, said.how) == (FIT, "environment")
    # A command has no kernel: its session is what it says.
    (said,) = found([SERVER, KERNEL, process(50, 1, session_id="s3")], {20: Owner("s3")}, G0=[50])
    assert said.owner == Owner("s3")


def test_another_users_word_is_not_believed() -> None:
    forged = process(50, 1, kernel_id="fit", session_id="s1", user_id=2000)
    (said,) = found([SERVER, KERNEL, forged], {20: FIT}, G0=[50])
    assert said.owner is None


def test_a_control_group_tells_only_where_it_is_one_kernels_own() -> None:
    kernel = process(20, 10, cgroup="/server/kernel-fit")
    (said,) = found([SERVER, kernel, process(50, 1, cgroup="/server/kernel-fit")], {20: FIT}, G0=[50])
    assert (said.owner, said.how) == (FIT, "cgroup")
    (said,) = found([SERVER, KERNEL, process(50, 1)], {20: FIT}, G0=[50])
    assert said.owner is None
    shared = process(30, 10, cgroup="/server/kernel-fit")
    facts = [SERVER, kernel, shared, process(50, 1, cgroup="/server/kernel-fit")]
    (said,) = found(facts, {20: FIT, 30: GAN}, G0=[50])
    assert said.owner is None


def test_processes_of_mig_devices_come_once() -> None:
    said = found([SERVER, KERNEL], {20: FIT}, G1=[20], M0=[20])
    assert [(a.device_uuid, a.use.mig_uuid, a.owner) for a in said] == [("G1", "M0", FIT)]


def test_a_process_that_has_just_ended_is_nobodys() -> None:
    (said,) = found([SERVER, KERNEL], {20: FIT}, G0=[77])
    assert (said.owner, said.facts) == (None, None)


def test_a_process_id_that_was_given_to_another_process_is_nobodys() -> None:
    began = Owner("s1", "fit", started_at=1000.0)
    kernel = process(20, 10, started_at=1000.4)  # the clock was set meanwhile
    (said,) = found([SERVER, kernel, process(21, 20)], {20: began}, G0=[21])
    assert (said.owner, said.how) == (FIT, "tree")
    stranger = process(20, 10, started_at=5000.0)
    said_of = found([SERVER, stranger, process(21, 20), process(50, 1, kernel_id="fit")], {20: began}, G0=[20, 21, 50])
    assert [a.owner for a in said_of] == [None, None, None]


def test_an_id_that_is_no_programs_stands_for_nobody() -> None:
    facts = [process(1, 0), SERVER, KERNEL, process(99, 1)]
    said = found(facts, {0: GAN, 1: GAN, 20: FIT}, G0=[0, 1, 20, 99])
    assert [(a.use.pid, a.owner) for a in said] == [(0, None), (1, None), (20, FIT), (99, None)]


@given(st.dictionaries(st.integers(2, 30), st.integers(0, 30), max_size=25), st.sets(st.integers(2, 30), max_size=4))
def test_every_process_comes_once_and_loops_end(parents: dict[int, int], kernels: set[int]) -> None:
    facts = [ProcessFacts(pid, parent) for pid, parent in parents.items()]
    owners = {pid: Owner("s", str(pid)) for pid in kernels}
    said = found(facts, owners, G0=sorted(parents))
    assert [a.use.pid for a in said] == sorted(parents)
    for one in said:
        if one.owner is not None:
            at = one.use.pid
            while at not in kernels:
                at = parents[at]
            assert one.owner == owners[at]
