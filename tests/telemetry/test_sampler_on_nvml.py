"""The sampler and the local pool over the NVML adapter: what the panel gets to see in each state."""

from __future__ import annotations

from nvml.sim import NvmlSim


def test_a_call_that_hangs_ten_seconds(nvml: NvmlSim) -> None:
    nvml.state("gpus 8")
    nvml.run("""
        sampler = make_sampler()
        with sampler.watch():
            until(sampler, lambda s: len(s.samples) == 8)
            set_state("gpus 8\\ngpu.3.hang nvmlDeviceGetMemoryInfo_v2 10\\ngpu.4.util 44")
            began = time.monotonic()
            s = until(sampler, lambda s: GPU.format(3) in s.silent_since)
            assert time.monotonic() - began < 3
            s = until(sampler, lambda s: s.samples[GPU.format(4)].utilization_percent == 44.0)
            assert s.devices[GPU.format(3)].lost_reason == "not_answering"
            pool = inventory(sampler)
            assert pool.available and len(pool.shares) == 7 and pool.lost == (GPU.format(3),)
            assert pool.reason_code == "device_lost" and "GPU 3 does not answer" in pool.reason_text
            assert time.monotonic() - began < 8
            set_state("gpus 8")
            s = until(sampler, lambda s: not s.silent_since)
            assert time.monotonic() - began < 14
            assert len(inventory(sampler).shares) == 8
        sampler.close()
    """)


def test_each_state_in_the_pools_own_words(nvml: NvmlSim) -> None:
    for state, code in (
        ("fail nvmlInitWithFlags 9", "driver_not_loaded"),
        ("fail nvmlInitWithFlags 4", "no_permission"),
        ("fail nvmlInitWithFlags 18", "version_mismatch"),
        ("fail nvmlDeviceGetHandleByIndex_v2 4", "no_permission"),
        ("hang nvmlInitWithFlags 10", "not_answering"),
        ("gpu.0.lost 1", "devices_missing"),
        ("gpus 0", "no_devices"),
    ):
        nvml.state(f"gpus 1\n{state}")
        said = nvml.run("""
            sampler = make_sampler()
            pool = inventory(sampler)
            assert not pool.available and not pool.shares and pool.reason_text and pool.hint, pool
            print(pool.reason_code)
            sampler.close()
        """)
        assert said.strip() == code
    said = nvml.run("print(inventory(make_sampler()).reason_text)", library=False)
    assert "libnvidia-ml not found" in said


def test_lost_and_back_in_the_inventory(nvml: NvmlSim) -> None:
    nvml.state("gpus 2")
    nvml.run("""
        sampler = make_sampler()
        assert len(inventory(sampler).shares) == 2
        set_state("gpus 2\\ngpu.1.lost 1")
        time.sleep(1.1)
        pool = inventory(sampler)
        time.sleep(1.1)
        pool = inventory(sampler)
        assert pool.lost == (GPU.format(1),) and len(pool.shares) == 1 and len(pool.flavors) == 1, pool
        set_state("gpus 2")
        with sampler.watch():
            until(sampler, lambda s: s.devices[GPU.format(1)].lost_reason is None)
        time.sleep(1.1)
        assert inventory(sampler).lost == ()
        sampler.close()
    """)


def test_foreign_processes_take_what_they_use(nvml: NvmlSim) -> None:
    gone = 2**22 + 7
    nvml.state(f"""
        gpus 3
        gpu.0.proc {gone} 100
        gpu.1.proc 1 100
        gpu.2.name NVIDIA A100-SXM4-40GB
        gpu.2.mig 2 1g.5gb 4864
        gpu.2.proc 1 100 0
    """)
    nvml.run("""
        sampler = make_sampler()
        taken = inventory(sampler).taken
        mig = sampler.snapshot.devices[GPU.format(2)].mig_devices
        assert set(taken) == {GPU.format(0), GPU.format(1), mig[0].uuid}, taken
        sampler2 = make_sampler()
        assert inventory(sampler2, own=(1,)).taken == (GPU.format(0),)
    """)


def test_nobody_looking_makes_no_call(nvml: NvmlSim) -> None:
    nvml.run("""
        sampler = make_sampler()
        with sampler.watch():
            until(sampler, lambda s: s.number > 2)
        time.sleep(0.3)
        before = pathlib.Path(__import__("os").environ["SWANGPU_NVML_SIM_CALLS"]).stat().st_size
        time.sleep(0.5)
        assert pathlib.Path(__import__("os").environ["SWANGPU_NVML_SIM_CALLS"]).stat().st_size == before
        sampler.close()
    """)
    assert len(nvml.threads()) == 1
    assert nvml.calls()["nvmlShutdown"] == 1
