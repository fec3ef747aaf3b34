"""The NVML adapter on the simulated library: every state says itself, nothing raises, no traceback in the log."""

from __future__ import annotations

import os

from nvml.sim import NvmlSim

EIGHT = "gpus 8\n" + "\n".join(
    f"gpu.{i}.name NVIDIA A100-SXM4-40GB\ngpu.{i}.memory_mib 40960\ngpu.{i}.util {10 * i}" for i in range(8)
)
TWO_CUT = EIGHT + "\ngpu.2.mig 7 1g.5gb 4864\ngpu.5.mig 7 1g.5gb 4864\n"


def test_eight_devices_of_which_two_are_cut_in_seven(nvml: NvmlSim) -> None:
    nvml.state(TWO_CUT)
    said = nvml.run("""
        d = driver()
        assert d.open().ok and d.open().driver_version == "575.57.08"
        devices = d.devices()
        assert [i.index for i in devices] == list(range(8))
        assert [len(i.mig_devices) for i in devices] == [0, 0, 7, 0, 0, 7, 0, 0]
        assert devices[2].mig_devices[0].profile == "1g.5gb"
        assert len({m.uuid for i in devices for m in i.mig_devices}) == 14
        whole = d.sample(GPU.format(3))
        assert len(whole) == 1 and whole[0].utilization_percent == 30.0
        assert dict(whole[0].missing) == OFTEN_MISSING
        assert whole[0].memory_total_bytes == 40960 * 2**20 and whole[0].power_mw == 30000
        cut = d.sample(GPU.format(2))
        assert len(cut) == 8
        for sample in cut:
            assert sample.utilization_percent is None
            assert dict(sample.missing)["utilization_percent"] == "not_supported"
            assert sample.memory_used_bytes == 0 and sample.processes == ()
        print("fine")
    """)
    assert said.strip() == "fine"


def test_a_sample_costs_few_calls_and_never_the_slow_one(nvml: NvmlSim) -> None:
    nvml.state(EIGHT + "".join(f"\ngpu.{i}.proc {os.getpid()} 100" for i in range(8)))
    nvml.run("""
        d = driver()
        devices = d.devices()
        for i in devices: d.sample(i.uuid)
        pathlib.Path(__import__("os").environ["SWANGPU_NVML_SIM_CALLS"]).unlink()
        for _ in range(8):
            for i in devices: d.sample(i.uuid)
    """)
    calls = nvml.calls()
    assert "nvmlDeviceGetPcieThroughput" not in calls
    assert "nvmlInitWithFlags" not in calls
    assert sum(calls.values()) <= 8 * 48
    every_time = {name for name, count in calls.items() if count >= 64}
    assert every_time == {
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetProcessesUtilizationInfo",
    }
    assert calls["nvmlDeviceGetTemperatureV"] == calls["nvmlDeviceGetClockInfo"] == 16
    assert len(nvml.threads()) == 1


def test_listing_again_is_cheap_while_nothing_comes_or_goes(nvml: NvmlSim) -> None:
    nvml.state(EIGHT)
    nvml.run("""
        d = driver()
        d.devices()
        pathlib.Path(__import__("os").environ["SWANGPU_NVML_SIM_CALLS"]).unlink()
        d.devices()
    """)
    assert nvml.calls() == {"nvmlDeviceGetCount_v2": 1, "nvmlDeviceGetMigMode": 8}


def test_the_drivers_own_samples_are_not_lost_by_asking_seldom(nvml: NvmlSim) -> None:
    nvml.state("gpus 1\ngpu.0.samples 0 0 0 90 0 0")
    nvml.run("""
        d = driver()
        d.devices()
        d.sample(GPU.format(0))
        # Whatever has been sampled in a second: one in six was 90.
        time.sleep(1.05)
        s = d.sample(GPU.format(0))[0]
        assert s.utilization_percent_max == 90.0, s
        assert 10 <= s.utilization_percent <= 30, s
    """)


def test_a_first_reading_tells_what_is_now_and_not_what_the_driver_still_remembers(nvml: NvmlSim) -> None:
    # once in four seconds, of the twenty that the driver keeps
    nvml.state(f"gpus 1\ngpu.0.samples {'0 ' * 23}90")
    nvml.run("""
        def first():
            d = driver()
            d.devices()
            s = d.sample(GPU.format(0))[0]
            time.sleep(0.5)
            return s.utilization_percent_max, s.utilization_percent
        found = [first() for _ in range(8)]
        assert min(found) == (0.0, 0.0), found
        assert max(peak for peak, _ in found) == 90.0, found
    """)


def test_traffic_errors_and_why_the_clock_is_low(nvml: NvmlSim) -> None:
    nvml.state("gpus 1\ngpu.0.rates 1000000 2000000 3072000 0\ngpu.0.reasons 68\ngpu.0.ecc 2")
    nvml.run("""
        d = driver()
        d.devices()
        first = d.sample(GPU.format(0))[0]
        assert first.throttle_reasons == ("power_cap", "hardware_thermal") and first.ecc_uncorrected_count == 2
        assert first.pcie_tx_bytes_per_s is None and dict(first.missing)["pcie_tx_bytes_per_s"] == "not_yet"
        time.sleep(0.3)
        s = d.sample(GPU.format(0))[0]
        assert abs(s.pcie_tx_bytes_per_s - 1e6) < 1e5 and abs(s.pcie_rx_bytes_per_s - 2e6) < 2e5, s
        assert abs(s.nvlink_tx_bytes_per_s - 3.072e6) < 3e5 and s.nvlink_rx_bytes_per_s == 0.0, s
        assert s.last_xid is None and dict(s.missing) == {"sm_activity_percent": "not_supported"}
    """)


def test_an_xid_error_is_told_with_its_device(nvml: NvmlSim) -> None:
    nvml.state("gpus 2")
    nvml.run("""
        d = driver()
        d.devices()
        for uuid in (GPU.format(0), GPU.format(1)): d.sample(uuid)
        set_state("gpus 2\\ngpu.1.xid 79")
        for _ in range(4):
            first, second = d.sample(GPU.format(0))[0], d.sample(GPU.format(1))[0]
        assert first.last_xid is None and second.last_xid == 79 and second.last_xid_at <= time.time(), second
    """)


def test_with_gpm_the_multiprocessors_are_seen_and_slices_say_how_busy_they_are(nvml: NvmlSim) -> None:
    hopper = "gpus 2\ngpu.0.name NVIDIA H100\ngpu.1.name NVIDIA H100\ngpu.0.sm 33\ngpu.0.util 80\ngpu.1.sm 12\n"
    nvml.state(hopper + "gpu.1.mig 2 3g.40gb 40000")
    nvml.run("""
        d = driver()
        d.devices()
        first = d.sample(GPU.format(0))[0]
        assert first.sm_activity_percent is None and dict(first.missing)["sm_activity_percent"] == "not_yet"
        s = d.sample(GPU.format(0))[0]
        assert s.sm_activity_percent == 33.0 and s.utilization_percent == 80.0, s
        d.sample(GPU.format(1))
        whole, *slices = d.sample(GPU.format(1))
        assert len(slices) == 2
        for s in (whole, *slices):
            assert s.utilization_percent == 100.0 and s.sm_activity_percent == 12.0, s
            assert not {"utilization_percent", "sm_activity_percent"} & dict(s.missing).keys()

        # After a pause the reading before is too old to say anything about now.
        from swangpu.telemetry import nvml_sample
        stale, nvml_sample.STALE_S = nvml_sample.STALE_S, -1.0
        s = d.sample(GPU.format(0))[0]
        assert s.sm_activity_percent is None and dict(s.missing)["sm_activity_percent"] == "not_yet", s
        nvml_sample.STALE_S = stale
        assert d.sample(GPU.format(0))[0].sm_activity_percent == 33.0
    """)


def test_the_library_is_missing_and_comes(nvml: NvmlSim) -> None:
    said = nvml.run(
        """
        d = driver()
        status = d.open()
        print(status.code, "|", status.text, "|", status.hint)
        assert d.devices() == () and d.sample("GPU-x")[0].utilization_percent is None
        """,
        library=False,
    )
    assert said.startswith(
        "library_missing | No NVIDIA driver here (libnvidia-ml not found). | On a machine with an NVIDIA GPU"
    )


def test_what_stands_in_the_way_is_said_and_goes_away(nvml: NvmlSim) -> None:
    for number, code in ((9, "driver_not_loaded"), (4, "no_permission"), (18, "version_mismatch"), (999, "failed")):
        nvml.state(f"gpus 1\nfail nvmlInitWithFlags {number}")
        said = nvml.run("""
            d = driver()
            status = d.open()
            assert not status.ok and status.text and status.hint and d.devices() == ()
            set_state("gpus 1")
            assert d.open().ok and len(d.devices()) == 1
            print(status.code)
        """)
        assert said.strip() == code


def test_a_driver_that_is_unloaded_in_mid_run(nvml: NvmlSim) -> None:
    nvml.run("""
        d = driver()
        assert d.devices()[0].lost_reason is None
        set_state("gpus 1\\nfail * 9")
        assert d.sample(GPU.format(0))[0].missing
        assert d.devices()[0].lost_reason == "lost"
        assert d.open().code == "driver_not_loaded"
        set_state("gpus 1")
        assert d.devices()[0].lost_reason is None and d.sample(GPU.format(0))[0].utilization_percent == 0.0
    """)


def test_a_device_is_lost_in_mid_run_and_comes_back(nvml: NvmlSim) -> None:
    nvml.state("gpus 2")
    nvml.run("""
        d = driver()
        d.devices()
        set_state("gpus 2\\ngpu.1.lost 1")
        sample = d.sample(GPU.format(1))[0]
        assert sample.memory_used_bytes is None and dict(sample.missing)["memory_used_bytes"] == "lost"
        assert [i.lost_reason for i in d.devices()] == [None, "lost"]
        assert d.sample(GPU.format(0))[0].utilization_percent == 0.0
        set_state("gpus 2\\ngpu.1.util 30")
        end = time.monotonic() + 10
        while d.devices()[1].lost_reason:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert d.sample(GPU.format(1))[0].utilization_percent == 30.0
    """)


def test_a_device_that_answers_unknown_error_to_everything_is_lost(nvml: NvmlSim) -> None:
    nvml.state("gpus 1\n")
    nvml.run("""
        d = driver()
        d.devices()
        set_state("gpus 1\\ngpu.0.fail * 999")
        d.sample(GPU.format(0))
        assert d.devices()[0].lost_reason
    """)


def test_no_permission_for_some_and_for_all(nvml: NvmlSim) -> None:
    nvml.state("gpus 2\ngpu.1.fail * 4")
    nvml.run("""
        d = driver()
        assert len(d.devices()) == 1
        assert d.open().ok and "1 of 2 GPUs" in d.open().text
        set_state("gpus 2\\nfail nvmlDeviceGetHandleByIndex_v2 4")
        assert all(i.lost_reason for i in d.devices())
        assert d.open().code == "no_permission" and d.open().code == "no_permission"
        set_state("gpus 2")
        assert d.open().ok and len(d.devices()) == 2
    """)


def test_each_field_fails_alone(nvml: NvmlSim) -> None:
    nvml.state("""
        gpus 1
        gpu.0.fail nvmlDeviceGetSamples 3
        gpu.0.fail nvmlDeviceGetUtilizationRates 3
        gpu.0.fail nvmlDeviceGetTemperatureV 4
        gpu.0.fail nvmlDeviceGetClockInfo 999
        gpu.0.fail nvmlDeviceGetFieldValues 3
    """)
    nvml.run("""
        d = driver()
        d.devices()
        for _ in range(3):
            s = d.sample(GPU.format(0))[0]
        assert dict(s.missing) == {
            "utilization_percent": "not_supported", "temperature_c": "no_permission", "sm_clock_mhz": "not_answering",
            **dict.fromkeys(["energy_mj", "ecc_uncorrected_count"], "not_supported"), **OFTEN_MISSING,
            "utilization_percent_max": "not_supported",
        }, s.missing
        assert s.power_mw == 30000 and s.memory_total_bytes and s.processes == ()
        assert d.devices()[0].lost_reason is None
    """)
    assert nvml.calls()["nvmlDeviceGetUtilizationRates"] == 1  # what is not supported is asked once


def test_one_counter_that_may_not_be_read_says_so(nvml: NvmlSim) -> None:
    nvml.state("gpus 1\ngpu.0.rates 1000 2000 300 400\ngpu.0.refuse 83 4")
    nvml.run("""
        d = driver()
        d.devices()
        for _ in range(4):
            s = d.sample(GPU.format(0))[0]
        assert s.energy_mj is None and dict(s.missing)["energy_mj"] == "no_permission", s
        assert s.power_mw and s.pcie_tx_bytes_per_s is not None, s
        set_state("gpus 1\\ngpu.0.rates 1000 2000 300 400")
        d.sample(GPU.format(0))
        s = d.sample(GPU.format(0))[0]
        assert s.energy_mj and "energy_mj" not in dict(s.missing), s
    """)


def test_an_older_driver_has_older_spellings(nvml: NvmlSim) -> None:
    nvml.state(f"""
        gpus 1
        gpu.0.used_mib 100
        gpu.0.proc {os.getpid()} 100
        fail nvmlDeviceGetMemoryInfo_v2 13
        fail nvmlDeviceGetTemperatureV 13
        fail nvmlDeviceGetProcessesUtilizationInfo 13
    """)
    nvml.run("""
        d = driver()
        d.devices()
        s = d.sample(GPU.format(0))[0]
        assert s.memory_used_bytes == 100 * 2**20 and s.temperature_c == 40 and len(s.processes) == 1
        assert dict(s.missing) == OFTEN_MISSING
    """)


def test_processes_ours_foreign_and_ended(nvml: NvmlSim) -> None:
    gone = 2**22 + 7  # above Linux's largest process id
    nvml.state(f"gpus 2\ngpu.0.util 60\ngpu.0.proc {os.getpid()} 300\ngpu.1.proc {gone} 100")
    nvml.run(f"""
        d = driver(host_pids=False)
        d.devices()
        ours, foreign = d.sample(GPU.format(0))[0], d.sample(GPU.format(1))[0]
        (process,) = ours.processes
        assert process.pid == {os.getpid()} and process.memory_bytes == 300 * 2**20 and process.sm_percent == 60.0
        assert foreign.processes is None and dict(foreign.missing)["processes"] == "not_visible"
        on_host = driver(host_pids=True)
        on_host.devices()
        assert on_host.sample(GPU.format(1))[0].processes == ()
    """)


def test_processes_of_mig_devices(nvml: NvmlSim) -> None:
    nvml.state(f"""
        gpus 1
        gpu.0.name NVIDIA A100-SXM4-40GB
        gpu.0.mig 2 3g.20gb 19968
        gpu.0.proc {os.getpid()} 500 1
    """)
    nvml.run("""
        d = driver()
        (info,) = d.devices()
        whole, first, second = d.sample(info.uuid)
        assert first.processes == () and second.memory_used_bytes == 500 * 2**20
        assert [p.mig_uuid for p in second.processes] == [info.mig_devices[1].uuid]
        assert whole.processes == second.processes
        set_state("gpus 1\\ngpu.0.name NVIDIA A100-SXM4-40GB")
        (info,) = d.devices()
        assert not info.mig_enabled and d.sample(info.uuid)[0].utilization_percent == 0.0
    """)
