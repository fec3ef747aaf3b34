"""What a device's shares are called, and how a device is cut. Pure: devices and settings in, shares and words out.

A flavor's name is the model, with its memory where the model comes in several sizes, and how it is cut:
``a100-40gb``, ``a100-40gb/1g.5gb``, ``t4/mps-4``, ``t4/time-4``. Its title says the same in plain words:
"A100 whole, 40 GB", "A100 slice, 5 GB", "T4 quarter, 4 GB".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..domain.devices import Flavor, Share, ShareKind
from ..domain.telemetry import DeviceInfo
from ..errors import Misconfigured

__all__ = ["LocalPoolConfig", "check", "flavor_name", "flavors_of", "memory_gb", "model_title", "shares_of"]

MAX_SLICES = 32

#: sizes that GPUs are sold with, in GB: what a driver reports is some percent less or more
_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 36, 40, 48, 64, 72, 80, 94, 96, 128, 141, 180, 192, 256, 288)
#: models that come in more than one size, also where their name does not say which
_SEVERAL_SIZES = frozenset({"a100", "a800", "h100", "h800", "v100", "p100", "gh200", "k20", "k40", "m40"})
#: words of a driver's name that are not the model
_NOISE = frozenset(
    {"nvidia", "geforce", "tesla", "graphics", "gpu", "card", "generation", "server", "workstation", "edition", "mig"}
    | {"sxm", "sxm2", "sxm3", "sxm4", "sxm5", "sxm6", "pcie", "pcie4", "nvl", "hbm2", "hbm2e", "hbm3", "hbm3e", "ts"}
)
_MEMORY_WORD = re.compile(r"^(\d+)\s?gb$")
_PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 8: "eighth"}


@dataclass(frozen=True)
class LocalPoolConfig:
    """How this machine's devices are offered.

    Parameters
    ----------
    name, title : str
        The pool's.
    devices : tuple of str
        UUIDs or indices that are offered; empty means all.
    slices_per_model : mapping of str to int
        Into how many slices a model is cut: part of its name, in any case, to a number from 1 to 32. The longest
        match counts.
    slice_kind : str
        ``"time_slice"`` (advice to the frameworks) or ``"mps"`` (limits that CUDA enforces, where this user's MPS
        daemon runs).
    whole_too : bool
        Whether a device that is cut into slices can be had whole as well. One excludes the other while it is held.
    mps_pipe_directory : str or None
        Where the MPS daemon listens; else ``CUDA_MPS_PIPE_DIRECTORY``, else CUDA's own default.
    """

    name: str = "local"
    title: str = "This machine"
    devices: tuple[str, ...] = ()
    slices_per_model: Mapping[str, int] = field(default_factory=dict)
    slice_kind: str = "time_slice"
    whole_too: bool = False
    mps_pipe_directory: str | None = None


def check(config: LocalPoolConfig) -> None:
    """Refuse settings that make no sense.

    Raises
    ------
    Misconfigured
        ``params["trait"]`` names the setting.
    """
    if config.slice_kind not in ("time_slice", "mps"):
        raise Misconfigured(
            f"slice_kind is {config.slice_kind!r}, and can be 'time_slice' or 'mps'.", trait="slice_kind"
        )
    for model, count in config.slices_per_model.items():
        if not model.strip():
            raise Misconfigured("slices_per_model has a model without a name.", trait="slices_per_model")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SLICES:
            raise Misconfigured(
                f"slices_per_model cuts {model!r} into {count!r}, and can cut into 1 to {MAX_SLICES}.",
                trait="slices_per_model",
            )
    if not config.name or not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", config.name):
        raise Misconfigured("A pool's name is made of letters, digits, dots and dashes.", trait="name")


def memory_gb(model: str, memory_bytes: int) -> int:
    """The size a device is sold with, in GB.

    Drivers report less than that (a T4's 15 GiB) or more (an L4's 24.15 GB); the name tells where it fits the report.
    """
    low, high = memory_bytes / 2**30 * 0.985, memory_bytes / 1e9 * 1.01
    for word in _words(model):
        found = _MEMORY_WORD.match(word)
        if found and low <= int(found[1]) <= high:
            return int(found[1])
    return next((size for size in _SIZES if low <= size <= high), max(1, round(memory_bytes / 2**30)))


def flavor_name(model: str, memory_bytes: int, part: str = "") -> str:
    """``a100-40gb/1g.5gb`` for a driver's name, a memory in bytes and a part (``1g.5gb``, ``time-4``)."""
    words = _model_words(model)
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(words)).strip("-") or "gpu"
    sized = any(_MEMORY_WORD.match(w) for w in _words(model)) or name in _SEVERAL_SIZES
    if sized:
        name += f"-{memory_gb(model, memory_bytes)}gb"
    return f"{name}/{part}" if part else name


def model_title(model: str) -> str:
    """``A100``, ``RTX 4090``: the model as people say it."""
    kept = set(_model_words(model))
    words = [w for w in _split(model) if w.lower() in kept and not _MEMORY_WORD.match(w.lower())]
    return " ".join(words) or "GPU"


def shares_of(device: DeviceInfo, config: LocalPoolConfig, *, mps: bool = True) -> tuple[Share, ...]:
    """What a device is offered as, sorted by id, whether it answers just now or not.

    Parameters
    ----------
    mps : bool
        Whether an MPS daemon runs; without one a device that is to be cut by MPS is offered whole.
    """
    if not _offered(device, config):
        return ()
    if device.mig_enabled:
        shares = [_mig_share(device, i, config) for i in range(len(device.mig_devices))]
        return tuple(sorted(shares, key=lambda s: s.id))
    count = _slices(device.name, config)
    kind = ShareKind(config.slice_kind)
    if kind is ShareKind.MPS and not mps:
        count = 1
    shares = [_slice(device, config, kind, i, count) for i in range(count)] if count > 1 else []
    if not shares or config.whole_too:
        name = flavor_name(device.name, device.memory_bytes)
        shares.append(Share(device.uuid, config.name, name, ShareKind.WHOLE, device.uuid, device.memory_bytes))
    return tuple(sorted(shares, key=lambda s: s.id))


def flavors_of(devices: Iterable[DeviceInfo], shares: Sequence[Share]) -> tuple[Flavor, ...]:
    """The flavors that these shares are of, sorted by name, each with the memory of its smallest share."""
    models = {d.uuid: d for d in devices}
    out: dict[str, Flavor] = {}
    whole: Counter[str] = Counter(s.flavor for s in shares if s.kind is ShareKind.WHOLE)
    for share in shares:
        known = out.get(share.flavor)
        if known is not None:
            out[share.flavor] = replace(known, memory_bytes=min(known.memory_bytes, share.memory_bytes))
            continue
        title = _title(models[share.device_uuid], share)
        out[share.flavor] = Flavor(
            name=share.flavor,
            title=title,
            memory_bytes=share.memory_bytes,
            kind=share.kind,
            max_per_kernel=max(1, whole[share.flavor]) if share.kind is ShareKind.WHOLE else 1,
        )
    titles = Counter(f.title for f in out.values())
    for name, flavor in out.items():
        if titles[flavor.title] > 1:  # 1g.10gb and 2g.10gb have the same memory, not the same compute
            out[name] = replace(flavor, title=f"{flavor.title} ({name.rpartition('/')[2]})")
    return tuple(sorted(out.values(), key=lambda f: f.name))


def _title(device: DeviceInfo, share: Share) -> str:
    model = model_title(device.name)
    if share.kind is ShareKind.WHOLE:
        return f"{model} whole, {memory_gb(device.name, device.memory_bytes)} GB"
    if share.kind is ShareKind.MIG:
        said = re.search(r"\.(\d+)gb", share.profile or "")
        size = said[1] if said else str(round(share.memory_bytes / 1e9))
        return f"{model} slice, {size} GB"
    count = int(share.flavor.rpartition("-")[2])
    size = f"{memory_gb(device.name, device.memory_bytes) / count:.1f}".removesuffix(".0")
    return f"{model} {_PARTS.get(count, f'1/{count}')}, {size} GB"


def _mig_share(device: DeviceInfo, index: int, config: LocalPoolConfig) -> Share:
    mig = device.mig_devices[index]
    return Share(
        id=mig.uuid,
        pool=config.name,
        flavor=flavor_name(device.name, device.memory_bytes, mig.profile),
        kind=ShareKind.MIG,
        device_uuid=device.uuid,
        memory_bytes=mig.memory_bytes,
        mig_uuid=mig.uuid,
        profile=mig.profile,
        fraction=mig_fraction(device.name, mig.profile),
    )


def _slice(device: DeviceInfo, config: LocalPoolConfig, kind: ShareKind, index: int, count: int) -> Share:
    word = "mps" if kind is ShareKind.MPS else "time"
    return Share(
        id=f"{device.uuid}/{word}-{index}of{count}",
        pool=config.name,
        flavor=flavor_name(device.name, device.memory_bytes, f"{word}-{count}"),
        kind=kind,
        device_uuid=device.uuid,
        memory_bytes=device.memory_bytes // count,
        compute_percent=100 // count if kind is ShareKind.MPS else 100,
        fraction=1.0 / count,
    )


def mig_fraction(model: str, profile: str) -> float:
    """The part of a device's compute slices that a MIG profile has: ``1g.5gb`` is one of 7, of an A30 one of 4."""
    said = re.match(r"(\d+)g\.", profile)
    return min(1.0, int(said[1]) / (4 if "a30" in _words(model) else 7)) if said else 1.0


def _slices(model: str, config: LocalPoolConfig) -> int:
    matches = [(len(part), n) for part, n in config.slices_per_model.items() if part.lower() in model.lower()]
    return max(1, min(MAX_SLICES, max(matches)[1])) if matches else 1


def _offered(device: DeviceInfo, config: LocalPoolConfig) -> bool:
    return not config.devices or device.uuid in config.devices or str(device.index) in config.devices


def _split(model: str) -> list[str]:
    return [w for w in re.split(r"[\s\-_/()]+", model) if w]


def _words(model: str) -> list[str]:
    return [w.lower() for w in _split(model)]


def _model_words(model: str) -> list[str]:
    words = [w for w in _words(model) if w not in _NOISE and not _MEMORY_WORD.match(w)]
    return words or ["gpu"]
