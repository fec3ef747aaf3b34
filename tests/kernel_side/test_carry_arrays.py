"""Carrying arrays: equal, sharing what they shared, without a second copy, and on the device that is there.

There is no GPU here: a tensor is said to be on one while it is saved. That proves which way is taken, and what is said.
"""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_carry import Fragile, move, reasons

from swangpu.kernel_side import buffers, carry, tensors

MB = 1_000_000


@pytest.fixture(params=["cloudpickle", "plain"], autouse=True)
def pickled_with(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "cloudpickle", None)


def test_arrays_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    read_only = np.arange(20_000)
    read_only.flags.writeable = False
    before = {
        "large": np.random.default_rng(0).random((300, 100)),
        "small": np.arange(3, dtype="u1"),
        "columns": np.asfortranarray(np.arange(40_000).reshape(200, 200)),
        "every_other": np.arange(100_000)[::2],
        "read_only": read_only,
        "objects": np.array([{"a": 1}, None], dtype=object),
        "records": np.zeros(30_000, dtype=[("x", "f4"), ("y", "i2")]),
        "none": np.empty((0, 5)),
        "dates": np.arange("2020-01-01", "2060-01-01", dtype="datetime64[D]"),
        "text": "x" * 200_000,
        "raw": bytearray(200_000),
    }
    saved, _, after = move(before, tmp_path / "variables")
    assert saved["left"] == []
    for name, value in before.items():
        assert type(after[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert after[name].dtype == value.dtype
            assert np.array_equal(after[name], value)
            assert after[name].flags.writeable == value.flags.writeable
        else:
            assert after[name] == value
    assert after["columns"].flags.f_contiguous
    after["large"][0] = 1


def test_two_names_of_one_array_stay_that(tmp_path: Path) -> None:
    data = np.arange(100_000)
    saved, _, after = move({"data": data, "same": data, "inside": {"deep": [data]}}, tmp_path / "variables")
    assert saved["left"] == []
    assert after["same"] is after["data"] is after["inside"]["deep"][0]


def test_frames_come_back_equal(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(50_000), "y": np.linspace(0, 1, 50_000), "name": ["a", "b"] * 25_000})
    frame = frame.set_index(pd.date_range("2020", periods=50_000, freq="min"))
    saved, _, after = move({"frame": frame, "column": frame["y"]}, tmp_path / "variables")
    assert saved["left"] == []
    pd.testing.assert_frame_equal(after["frame"], frame)
    pd.testing.assert_series_equal(after["column"], frame["y"])
    after["frame"].loc[:, "y"] += 1


@pytest.mark.parametrize("kind", ["array", "frame", "tensor"])
def test_saving_and_loading_hold_no_second_copy(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    data: Any = np.arange(4 * MB)
    if kind == "frame":
        data = pd.DataFrame(data.reshape(-1, 4))
    elif kind == "tensor":
        data = request.getfixturevalue("torch").from_numpy(data)
    namespace = {"data": data}
    carry.preview(namespace)  # what is imported and remembered once is not meant
    path = tmp_path / "variables"
    tracemalloc.start()
    try:
        assert carry.preview(namespace)["left"] == []
        assert carry.save(path, namespace)["left"] == []
        assert tracemalloc.get_traced_memory()[1] < MB
        assert 32 * MB < path.stat().st_size < 32.1 * MB
        tracemalloc.reset_peak()
        after: dict[str, Any] = {}
        assert carry.load(path, after)["left"] == []
        assert tracemalloc.get_traced_memory()[1] < 33 * MB
    finally:
        tracemalloc.stop()
    assert len(after["data"]) == len(data)


@given(st.lists(st.sampled_from(["small", "large", "lost", "lost with large", "fails"]), min_size=1, max_size=7))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_large_ones_are_not_mistaken_for_each_other_whatever_is_lost(tmp_path: Path, kinds: list[str]) -> None:
    before: dict[str, Any] = {}
    for n, kind in enumerate(kinds):
        large = np.full(buffers.LARGE // 8 + n, n)
        before[f"v{n}"] = {
            "small": [n],
            "large": large,
            "lost": Fragile(n),
            "lost with large": Fragile([large, large + 1]),
            "fails": (large, iter(x for x in ())),
        }[kind]
    saved, loaded, after = move(before, tmp_path / "variables")
    assert set(reasons(saved)) == {f"v{n}" for n, kind in enumerate(kinds) if kind == "fails"}
    assert set(reasons(loaded)) == {f"v{n}" for n, kind in enumerate(kinds) if kind not in ("small", "large")}
    for n, kind in enumerate(kinds):
        if kind in ("small", "large"):
            assert np.array_equal(after[f"v{n}"], before[f"v{n}"])


class Unwilling:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def test_what_can_not_be_carried_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("lines")
    with (tmp_path / "log").open() as log:
        before = {
            "log": log,
            "generator": (n for n in range(3)),
            "unwilling": Unwilling(),
            "holds_it": [np.arange(100_000), Unwilling()],
            "data": np.arange(100_000),
        }
        preview = carry.preview(before)
        saved, loaded, after = move(before, tmp_path / "variables")
    assert preview == saved
    why = reasons(loaded)
    assert why["log"] == "an open file can't be saved"
    assert why["generator"] == "a generator in the middle of its work can't be saved"
    assert why["unwilling"] == "a Unwilling can't be saved"
    assert set(why) == {"log", "generator", "unwilling", "holds_it"}
    assert np.array_equal(after["data"], before["data"])


def test_a_file_that_ends_early_is_said_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "variables"
    carry.save(path, {"data": np.arange(100_000)})
    whole = path.read_bytes()
    header = whole[-int.from_bytes(whole[-8:], "little") - 8 :]
    path.write_bytes(whole[:1000] + header)
    after: dict[str, Any] = {}
    report = carry.load(path, after)
    assert "data" not in after
    assert report.get("error") or set(reasons(report)) == {"data"}


# -- torch ----------------------------------------------------------------------------------------------------


def test_tensors_that_share_memory_share_it_again(torch: Any, tmp_path: Path) -> None:
    base = torch.arange(40_000.0).reshape(200, 200)
    before = {"a_row": base[3], "base": base, "turned": base.T, "other": torch.ones(3)}
    saved, loaded, after = move(before, tmp_path / "variables")
    assert saved["left"] == loaded["left"] == loaded["changed"] == []
    assert after["a_row"].data_ptr() - after["base"].data_ptr() == 3 * 200 * 4
    after["a_row"][5] = -1
    assert after["turned"][5, 3].item() == -1
    assert torch.equal(after["other"], before["other"])
    assert after["base"][7, 7].item() == base[7, 7].item()


def test_a_model_and_its_optimizer_train_on_as_they_would_have(torch: Any, tmp_path: Path) -> None:
    def step(model: Any, optimizer: Any) -> Any:
        optimizer.zero_grad()
        x = torch.arange(30.0).reshape(10, 3) / 30
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
    model[2].weight = model[0].weight
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    saved, _, after = move({"model": model, "optimizer": optimizer}, tmp_path / "variables")
    assert saved["left"] == []
    assert after["model"][2].weight is after["model"][0].weight
    assert after["optimizer"].param_groups[0]["params"][0] is after["model"][0].weight
    assert after["model"][0].weight.is_leaf
    for _ in range(3):
        assert torch.equal(step(model, optimizer), step(after["model"], after["optimizer"]))


def test_a_tensor_keeps_its_value_and_it_is_said_that_its_graph_is_gone(torch: Any, tmp_path: Path) -> None:
    leaf = torch.ones(3, requires_grad=True)
    _, loaded, after = move({"leaf": leaf, "loss": (leaf * 2).sum()}, tmp_path / "variables")
    assert loaded["changed"] == [{"name": "loss", "what": tensors.NO_GRAPH}]
    assert after["loss"].item() == 6


def test_without_a_gpu_a_tensor_of_one_comes_to_host_memory_and_that_is_said(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.arange(100_000)
    before = {"x": x, "model": {"deep": [x[1:]]}, "other": 1}
    with monkeypatch.context() as patched:
        patched.setattr(tensors, "_device", lambda storage: "cuda:0")
        patched.setattr(tensors, "PART_BYTES", 30_000)
        assert carry.save(tmp_path / "variables", before)["left"] == []
    after: dict[str, Any] = {}
    loaded = carry.load(tmp_path / "variables", after)
    assert loaded["left"] == []
    # the other one shares its memory
    assert {one["what"] for one in loaded["changed"]} == {tensors.HERE}
    assert torch.equal(after["x"], x)
    assert after["model"]["deep"][0].data_ptr() - after["x"].data_ptr() == 8


def test_a_tensor_goes_to_a_device_in_parts(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(100_000)
    carry.save(tmp_path / "variables", {"x": x})
    monkeypatch.setattr(tensors, "PART_BYTES", 30_000)
    monkeypatch.setattr(tensors, "_where", lambda torch, device, note: "cpu:0")
    after: dict[str, Any] = {}
    assert carry.load(tmp_path / "variables", after)["left"] == []
    assert torch.equal(after["x"], x)


@pytest.mark.parametrize(
    ("count", "was", "now"), [(0, "cuda:0", "cpu"), (1, "cuda:0", "cuda:0"), (1, "cuda:3", "cuda:0"), (1, "cpu", "cpu")]
)
def test_the_device_is_one_of_the_new_share(count: int, was: str, now: str) -> None:
    said: list[str] = []
    cuda = SimpleNamespace(is_available=lambda: bool(count), device_count=lambda: count)
    assert tensors._where(SimpleNamespace(cuda=cuda), was, said.append) == now
    assert bool(said) == (now == "cpu" != was)


def test_what_changed_is_said_in_the_output_of_the_next_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    monkeypatch.setattr(carry, "_shell", lambda: shell)
    changed = [{"name": name, "what": "it is elsewhere now"} for name in ("x", "y")]
    carry.tell_next_cell(carry._sentences(changed))
    for _ in range(2):
        shell.run_cell("1")
    assert capsys.readouterr().out.count("swangpu: x, y: it is elsewhere now.") == 1
