"""Looks at an installation, one check after the other; no check keeps another from being made."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import SwanGpuError
from .kernel_side import words

__all__ = ["Finding", "examine"]

Status = Literal["ok", "info", "warning", "problem"]

EXTENSION = "swangpu.server"
PROVISIONER = "swangpu-provisioner"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``hint`` says what to do; empty when nothing is to be done."""

    check: str
    status: Status
    title: str
    text: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine() -> list[Finding]:
    """Make all checks."""
    found: list[Finding] = []
    checks = (
        _driver,
        _mps,
        _suspend,
        _extension,
        _labextension,
        _provisioner,
        _environment,
        _configuration,
        _ledger,
        _servers,
    )
    for check in checks:
        try:
            found += check()
        except Exception as error:
            title = check.__name__.strip("_").capitalize()
            text = f"could not be looked at ({type(error).__name__})"
            found.append(Finding(check.__name__.strip("_"), "warning", title, text, "Please report this."))
    return [_printable(finding) for finding in found]


def _printable(finding: Finding) -> Finding:
    return Finding(finding.check, finding.status, finding.title, words.clean(finding.text), words.clean(finding.hint))


def _driver() -> Iterator[Finding]:
    from .telemetry.nvml import NvmlDriver

    driver = NvmlDriver()
    status = driver.open()
    if not status.ok:
        hint = f"{status.hint} `swangpu demo` works without a GPU.".strip()
        yield Finding("driver", "warning", "Driver", status.text or status.code, hint)
        return
    try:
        devices = driver.devices()
    finally:
        driver.close()
    version = f"version {status.driver_version}, " if status.driver_version else ""
    count = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
    yield Finding("driver", "ok" if devices else "warning", "Driver", f"{version}{count}")
    for device in devices:
        if device.lost_reason:
            yield Finding(
                "device",
                "problem",
                "Device",
                f"{device.name} ({device.uuid}) does not answer: {device.lost_reason}",
                "Its computer may have to be restarted; the system's log says more.",
            )
    cut = [device for device in devices if device.mig_enabled]
    if not cut:
        yield Finding("mig", "info", "MIG", "off on all devices")
    for device in cut:
        parts = len(device.mig_devices)
        text = (
            f"{device.name} is cut into {parts} MIG devices" if parts else f"on for {device.name}, but nothing is cut"
        )
        hint = "" if parts else "Make MIG devices with `nvidia-smi mig -cgi … -C`, or switch MIG off."
        yield Finding("mig", "ok" if parts else "warning", "MIG", text, hint)


def _mps() -> Iterator[Finding]:
    from .backends.mps import find_mps

    state = find_mps()
    if state.pipe_directory is not None:
        yield Finding("mps", "ok", "MPS", "its daemon runs for you")
    else:
        yield Finding("mps", "info", "MPS", state.text or "not running", state.hint)


def _suspend() -> Iterator[Finding]:
    from .suspend_test import suspend_findings

    yield from suspend_findings()


def _extension() -> Iterator[Finding]:
    said = _merged(_json_configs("jupyter_server_config")).get("ServerApp", {}).get("jpserver_extensions", {})
    enabled = said.get(EXTENSION)
    if enabled:
        yield Finding("extension", "ok", "Server extension", "enabled")
    else:
        text = "disabled" if enabled is False else "not enabled in this environment"
        yield Finding(
            "extension",
            "problem",
            "Server extension",
            text,
            f"jupyter server extension enable {EXTENSION} --sys-prefix",
        )


def _labextension() -> Iterator[Finding]:
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        if (Path(folder) / "swangpu" / "package.json").exists():
            yield Finding("labextension", "ok", "Panel", "installed")
            return
    hint = "Install the wheel (pip install swangpu); from the sources, `make demo` builds it."
    yield Finding("labextension", "problem", "Panel", "not installed for JupyterLab", hint)


def _provisioner() -> Iterator[Finding]:
    group = importlib.metadata.entry_points(group="jupyter_client.kernel_provisioners")
    if PROVISIONER not in {entry.name for entry in group}:
        yield Finding(
            "provisioner", "problem", "Kernels", "the provisioner is not installed", "Install swangpu again with pip."
        )
        return
    name = os.environ.get("JUPYTER_DEFAULT_PROVISIONER_NAME") or _merged(_json_configs("jupyter_server_config")).get(
        "KernelProvisionerFactory", {}
    ).get("default_provisioner_name")
    if name and name not in (PROVISIONER, "local-provisioner"):
        yield Finding(
            "provisioner",
            "warning",
            "Kernels",
            f"this site's default is {name}, and that is left alone: kernels can't be put on a GPU by a restart",
            f"Where that is wanted, set the default provisioner to {PROVISIONER}.",
        )
    else:
        yield Finding("provisioner", "ok", "Kernels", "can be put on a GPU and taken off it")


def _environment() -> Iterator[Finding]:
    from .kernel_side import stack

    findings = stack.look()
    where = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if not findings:
        yield Finding("environment", "info", "GPU libraries", f"none of those we know in {where}")
        return
    listed = ", ".join(f"{f['package']} {f['version'] or ''} ({f['text']})".replace("  ", " ") for f in findings)
    warning = stack.warning(findings)
    if warning is not None:
        yield Finding("environment", "warning", "GPU libraries", warning["text"], warning["params"]["hint"])
    else:
        yield Finding("environment", "ok", "GPU libraries", f"{listed}, in {where}")


def _configuration() -> Iterator[Finding]:
    from traitlets import TraitError
    from traitlets.config import Config

    from .server.extension import SwanGpu

    known = set(SwanGpu.class_trait_names(config=True))
    wrong = False
    for path, content in _json_configs("jupyter_server_config", "jupyter_swangpu_config"):
        if isinstance(content, str):
            wrong = True
            yield Finding(
                "configuration", "problem", "Configuration", f"{path} can't be read: {content}", "Correct it."
            )
            continue
        ours = content.get("SwanGpu")
        if not isinstance(ours, dict):
            continue
        if path.parent.suffix == ".d":
            wrong = True
            text = f"SwanGpu in {path} has no effect: Jupyter reads only lists of extensions there"
            yield Finding("configuration", "warning", "Configuration", text, "Put it into jupyter_server_config.json.")
            continue
        for name in sorted(set(ours) - known):
            wrong = True
            text = f"SwanGpu.{name} in {path} is no setting of this version"
            yield Finding("configuration", "warning", "Configuration", text, f"There are: {', '.join(sorted(known))}.")
        for name in sorted(set(ours) & known):
            try:
                SwanGpu(config=Config({"SwanGpu": {name: ours[name]}}))
            except (TraitError, SwanGpuError) as error:
                wrong = True
                yield Finding(
                    "configuration", "problem", "Configuration", f"SwanGpu.{name} in {path}: {error}", "Correct it."
                )
    if not wrong:
        yield Finding("configuration", "ok", "Configuration", "nothing wrong in the JSON files")


def _ledger() -> Iterator[Finding]:
    """Damaged ledgers that were put aside. The file itself is left alone: a running server has it locked."""
    from jupyter_core.paths import jupyter_data_dir

    configs = _json_configs("jupyter_server_config", "jupyter_swangpu_config")
    said = _merged(configs).get("SwanGpu", {})
    configured = said.get("data_dir") if isinstance(said, dict) else None
    folder = Path(configured) if isinstance(configured, str) and configured else Path(jupyter_data_dir()) / "swangpu"
    aside = sorted(p for p in folder.glob("ledger-*.damaged-*") if not p.name.endswith("-journal"))
    for path in aside:
        text = f"a damaged one was put aside as {path}; sessions and statistics of before are not known any more"
        hint = "If the disk is in order and nobody wants to look at the file, delete it."
        yield Finding("ledger", "warning", "Ledger", text, hint)
    if not aside:
        yield Finding("ledger", "ok", "Ledger", f"none was found damaged in {folder}")


def _servers() -> Iterator[Finding]:
    from .client import Client, read_all

    places = read_all()
    if not places:
        yield Finding("server", "info", "Running servers", "none of yours", "Start one with `jupyter lab`.")
    for place in places:
        with Client(place.url, place.token) as client:
            try:
                pools = client.pools().items
            except SwanGpuError as error:
                yield Finding("server", "problem", "Server", f"{place.url}: {error.detail}", error.hint)
                continue
        for pool in pools:
            if pool.available:
                free = sum(flavor.free for flavor in pool.flavors)
                total = sum(flavor.total for flavor in pool.flavors)
                yield Finding("pool", "ok", "Pool", f"{pool.title} at {place.url}: {free} of {total} free")
            else:
                why = pool.reason.text if pool.reason else "does not answer"
                yield Finding("pool", "warning", "Pool", f"{pool.title} at {place.url}: {why}", pool.hint or "")


def _json_configs(*names: str) -> list[tuple[Path, Any]]:
    """Jupyter's configuration in JSON, the strongest last; a file that can't be read as the reason why."""
    from jupyter_core.paths import jupyter_config_path

    found: list[tuple[Path, Any]] = []
    for folder in map(Path, reversed(jupyter_config_path())):
        for name in names:
            for path in [*sorted((folder / f"{name}.d").glob("*.json")), folder / f"{name}.json"]:
                if path.exists():
                    found.append((path, _read(path)))
    return found


def _read(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return (error.strerror or "no permission").lower()
    except ValueError:
        return "it is not JSON"
    return content if isinstance(content, dict) else "it is not a JSON object"


def _merged(configs: list[tuple[Path, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for _, content in configs:
        if isinstance(content, dict):
            _merge(total, content)
    return total


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
