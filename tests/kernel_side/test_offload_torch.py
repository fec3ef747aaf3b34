"""Torch's storages moved and brought back: training goes on bit for bit, and nothing that is shared comes apart.

There is no GPU here, so a device on the CPU stands in for one: host memory counts as a device's, and a copy of it as
the host's. Storages, tensors, graphs and optimizers are torch's own. So this proves what becomes of identity, aliases,
views, gradients, versions, graphs and optimizer state when storages are emptied and filled. It proves nothing about
copies over the bus, streams, pinned memory, and what CUDA's allocator gives back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swangpu.kernel_side import carry, offload, offload_torch


class Standing:
    """Host memory as a device; what is `off` it stands for pinned buffers, `hidden` is what the allocator counts."""

    def __init__(self) -> None:
        self.off: set[int] = set()
        self.hidden = 0
        self.emptied = 0

    def has(self, place: Any) -> bool:
        return bool(place.device.type == "cpu") and place._cdata not in self.off

    def wait(self) -> None: ...

    def give_back(self) -> None:
        self.emptied += 1

    def held_bytes(self) -> int | None:
        return self.hidden

    def cached_bytes(self) -> int:
        return 0


@pytest.fixture
def device(torch: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    standing = Standing()
    framework = offload_torch.Torch(torch, standing)  # type: ignore[arg-type]
    monkeypatch.setattr(offload, "FRAMEWORKS", [lambda: framework])
    yield standing
    assert offload.back()["ok"]


def round_trip() -> dict[str, Any]:
    report = offload.out()
    assert report["ok"], report
    assert offload.back()["ok"]
    return report


def training(torch: Any, seed: int, pauses: set[int]) -> tuple[list[Any], int]:
    """Train a little model with what notebooks have; a pause is possible after each part of a step."""
    torch.manual_seed(seed)
    nn = torch.nn
    embedding, out = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
    out.weight = embedding.weight  # tied
    middle = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Tanh())
    flat = torch.randn(12)
    scale = nn.Parameter(flat[:6])  # two parameters in one storage
    shift = nn.Parameter(flat[6:])
    model = nn.ModuleList([embedding, middle, out])
    optimizer = torch.optim.Adam([*model.parameters(), scale, shift], lr=0.05, amsgrad=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    losses, part = [], 0

    def pause() -> None:
        nonlocal part
        if part in pauses:
            report = round_trip()
            assert report["moved_bytes"] > 1000
            assert report["stays"] == [], "graphs and optimizers are accounted for"
        part += 1

    for _ in range(3):
        words = torch.randint(0, 11, (8,))
        hidden = middle(embedding(words)) * scale + shift
        pause()  # in the middle of a forward pass: the graph is alive
        loss = nn.functional.cross_entropy(out(hidden), words)
        pause()
        loss.backward()
        pause()
        optimizer.step()
        schedule.step()
        pause()
        optimizer.zero_grad(set_to_none=False)
        losses.append(loss.detach())
    assert out.weight is embedding.weight
    assert scale.untyped_storage()._cdata == shift.untyped_storage()._cdata == flat.untyped_storage()._cdata
    state = [value for each in optimizer.state.values() for value in each.values()]
    return [*losses, *model.state_dict().values(), flat, *state, torch.rand(3)], part


@given(st.integers(0, 2**32), st.sets(st.integers(0, 11), min_size=1, max_size=5))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_training_that_is_interrupted_is_bit_equal_to_training_that_is_not(
    torch: Any, device: Standing, seed: int, pauses: set[int]
) -> None:
    plain, parts = training(torch, seed, set())
    assert parts == 12
    paused, _ = training(torch, seed, pauses)
    assert len(plain) == len(paused)
    for one, other in zip(plain, paused, strict=True):
        assert torch.equal(one, other)


def test_what_is_one_memory_is_one_memory_again(torch: Any, device: Standing) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    row, column, turned = base[1], base[:, 2], base.T
    inside = {"deep": [turned.detach()]}
    every = [base, row, column, turned, inside["deep"][0]]
    identities = [id(one) for one in every]
    ahead = [one.data_ptr() - base.data_ptr() for one in every]
    versions = [one._version for one in every]
    report = offload.out()
    assert report["moved_bytes"] >= 96
    assert base.untyped_storage().nbytes() == 0, "the device's memory is given up"
    assert device.emptied == 1
    assert offload.back()["ok"]
    assert [one.data_ptr() - base.data_ptr() for one in every] == ahead
    assert [one._version for one in every] == versions
    assert [id(one) for one in every] == identities
    row += 100
    assert base[1].tolist() == [106.0, 107.0, 108.0, 109.0, 110.0, 111.0]
    assert inside["deep"][0][2, 1].item() == column[1].item() == 108.0


def test_leaves_gradients_and_graphs_are_as_they_were(torch: Any, device: Standing) -> None:
    leaf = torch.ones(5, requires_grad=True)
    middle = leaf * 3
    middle.retain_grad()
    result = (middle.exp() * leaf).sum()
    del middle
    round_trip()
    assert leaf.is_leaf
    assert leaf.requires_grad
    assert result.grad_fn is not None
    result.backward()
    assert torch.allclose(leaf.grad, torch.full((5,), 4 * torch.e**3))
    gradient = leaf.grad
    round_trip()
    assert leaf.grad is gradient
    assert torch.allclose(gradient, torch.full((5,), 4 * torch.e**3))


def test_gradients_that_nobody_has_looked_at_move_too(torch: Any, device: Standing) -> None:
    leaf = torch.ones(100_000, requires_grad=True)
    before = round_trip()["moved_bytes"]
    (leaf * 2).sum().backward()
    assert round_trip()["moved_bytes"] - before >= 400_000
    assert leaf.grad.sum().item() == 200_000


def test_functions_written_in_python_find_what_they_saved(torch: Any, device: Standing) -> None:
    class Cube(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            y = x * x
            context.save_for_backward(x, y)
            return y * x

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            _, square = context.saved_tensors
            return 3 * square * gradients[0]

    leaf = torch.tensor([2.0], requires_grad=True)
    result = Cube.apply(leaf * 1)
    report = round_trip()
    assert offload_torch.UNKNOWN not in [line["why"] for line in report["stays"]]
    result.backward()
    assert leaf.grad.item() == 12.0


def test_checkpoints_are_not_computed_for_it(torch: Any, device: Standing) -> None:
    from torch.utils.checkpoint import checkpoint

    runs = []

    def layer(x: Any) -> Any:
        runs.append(1)
        return x.exp()

    leaf = torch.zeros(4, requires_grad=True)
    result = checkpoint(layer, leaf * 2, use_reentrant=False).sum()
    round_trip()
    assert len(runs) == 1
    result.backward()
    assert leaf.grad.tolist() == [2.0] * 4


def test_looking_at_an_array_is_forbidden_while_it_is_away(
    torch: Any, device: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only builds with CUDA can forbid it; here it is shown that they are asked at the right moments."""
    forbidden: dict[int, str] = {}
    sizes: dict[int, int] = {}
    x = torch.ones(1000)
    storage = x.untyped_storage()

    def forbid(place: int, why: str) -> None:
        forbidden[place] = why
        sizes[place] = storage.nbytes()

    monkeypatch.setattr(torch._C, "_set_storage_data_ptr_access_error_msg", forbid, raising=False)
    monkeypatch.setattr(torch._C, "_clear_storage_data_ptr_access_error_msg", forbidden.pop, raising=False)
    offload.out()
    assert "paused" in forbidden[storage._cdata]
    assert sizes[storage._cdata] == 0
    offload.back()
    assert forbidden == {}
    assert x.sum().item() == 1000


def test_pinned_buffers_are_not_touched(torch: Any, device: Standing) -> None:
    pinned = torch.ones(50)
    device.off.add(pinned.untyped_storage()._cdata)
    where = pinned.data_ptr()
    offload.out()
    assert pinned.data_ptr() == where
    assert pinned.sum().item() == 50
    offload.back()
    assert pinned.data_ptr() == where


HOLDER = """
def make(torch):
    class Holder(torch.nn.Module):
        kept: typing.List[torch.Tensor]
        def __init__(self):
            super().__init__()
            self.kept = []
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.kept[0]
        @torch.jit.export
        def hide(self) -> None:
            self.kept = [torch.full([1000], 7.0)]
        @torch.jit.export
        def share(self, x: torch.Tensor) -> None:
            self.kept = [x[2:5]]
    return torch.jit.script(Holder())
"""


@pytest.fixture
def holder(torch: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compiled code that keeps tensors which Python never sees."""
    # its source is read from the file
    (tmp_path / "holding_tensors.py").write_text(f"import typing\nimport torch\n{HOLDER}")
    monkeypatch.syspath_prepend(str(tmp_path))
    import holding_tensors  # type: ignore[import-not-found]

    yield holding_tensors.make(torch)
    del sys.modules["holding_tensors"]


def test_what_only_compiled_code_holds_stays_and_is_measured(torch: Any, device: Standing, holder: Any) -> None:
    holder.hide()
    device.hidden = 4000
    report = round_trip()
    assert [line["bytes"] for line in report["stays"] if line["why"] == offload.COMPILED] == [4000]
    assert holder(torch.ones(1)).tolist() == [7.0] * 1000


def test_what_compiled_code_shares_stays_where_it_is(torch: Any, device: Standing, holder: Any) -> None:
    x = torch.arange(10.0)
    holder.share(x)
    where = x.data_ptr()
    report = offload.out()
    assert offload_torch.UNKNOWN in [line["why"] for line in report["stays"]]
    assert (x.data_ptr(), x.sum().item()) == (where, 45.0)
    offload.back()
    assert holder(x).tolist() == [2.0, 3.0, 4.0]


def test_memory_of_another_library_stays(torch: Any, device: Standing) -> None:
    import array

    data = array.array("f", range(100))
    x = torch.frombuffer(data, dtype=torch.float32)
    report = offload.out()
    line = next(line for line in report["stays"] if line["why"] == offload_torch.FOREIGN)
    assert line["bytes"] >= 400
    data[0] = 5.0
    assert x[0].item() == 5.0
    offload.back()


def test_a_captured_graph_keeps_all_where_it_is(torch: Any, device: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    class Captured:
        """What `torch.cuda.CUDAGraph` is on a GPU."""

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Captured)
    x, graph = torch.ones(100), [Captured()]
    where = x.data_ptr()
    report = offload.out()
    assert report["moved_bytes"] == 0
    assert {line["why"] for line in report["stays"]} >= {offload_torch.GRAPH}
    assert x.data_ptr() == where
    assert graph


def test_arrays_without_a_plain_layout_stay(torch: Any, device: Standing) -> None:
    x = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), torch.tensor([3.0, 4.0]), (2, 2)).coalesce()
    report = offload.out()
    assert offload_torch.SPARSE in [line["why"] for line in report["stays"]]
    offload.back()
    assert x.to_dense().tolist() == [[0.0, 3.0], [4.0, 0.0]]


def failing(after: int, times: int = 1) -> Callable[..., None]:
    """A storage's `resize_` that fails: there is no memory any more."""
    left = [after, times]

    def resize(self: Any, size: int) -> Any:
        left[0] -= 1
        if left[0] < 0 < left[1]:
            left[1] -= 1
            raise RuntimeError("CUDA error: out of memory")
        return original(self, size)

    import torch

    original = torch.UntypedStorage.resize_
    return resize


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failure_half_way_loses_nothing(
    torch: Any, device: Standing, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    several = [torch.full((n,), float(n)) for n in range(10, 20)]
    with monkeypatch.context() as patched:
        patched.setattr(torch.UntypedStorage, "resize_", failing(after))
        report = offload.out()
    assert not report["ok"]
    assert "not enough memory" in report["error"]
    assert [x.sum().item() for x in several] == [n * n for n in range(10, 20)]
    assert offload.out()["ok"]
    with monkeypatch.context() as patched:
        patched.setattr(torch.UntypedStorage, "resize_", failing(after))
        assert not offload.back()["ok"]
    assert all(x.untyped_storage().nbytes() == 0 for x in several)
    assert offload.back()["ok"]
    assert [x.sum().item() for x in several] == [n * n for n in range(10, 20)]


def test_torch_that_has_used_no_device_is_left_alone(torch: Any) -> None:
    x = torch.ones(100)
    where = x.data_ptr()
    assert offload.out()["moved_bytes"] == 0
    assert x.data_ptr() == where
    assert not torch.cuda.is_initialized()


def test_variables_of_a_paused_notebook_can_be_carried(torch: Any, device: Standing, tmp_path: Any) -> None:
    x = torch.arange(100_000.0)
    model = torch.nn.Linear(50, 50)
    before = {"x": x, "row": x[10:], "model": model}
    weight = model.weight.detach().clone()
    assert offload.out()["ok"]
    assert carry.save(tmp_path / "variables", before)["left"] == []
    assert offload.back()["ok"]
    after: dict[str, Any] = {}
    assert carry.load(tmp_path / "variables", after)["left"] == []
    assert torch.equal(after["x"], x)
    assert after["row"].data_ptr() - after["x"].data_ptr() == 40
    assert torch.equal(after["model"].weight, weight)
