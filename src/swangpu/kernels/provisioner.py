"""The provisioner: the standard one, until a kernel is attached to a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from .bindings import BINDINGS

__all__ = ["PROVISIONER_NAME", "SwanGpuProvisioner", "make_default"]

PROVISIONER_NAME = "swangpu-provisioner"

#: the folder that makes ``%gpu`` importable in a kernel whose Python has nothing of ours
SITE = Path(__file__).resolve().parent.parent / "kernel_side" / "_site"


class SwanGpuProvisioner(LocalProvisioner):
    """A `LocalProvisioner` that adds the environment of a kernel's shares, when it has any."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """The standard preparation, then ours. Called again at a restart, which keeps the shares."""
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        env = dict(prepared.get("env") or os.environ)
        kernel_id = str(self.kernel_id or "")
        env.update(BINDINGS.kernel_env(kernel_id))
        env["SWANGPU_KERNEL_ID"] = kernel_id
        binding = BINDINGS.of_kernel.get(kernel_id)
        if binding is not None:
            for name, value in binding.env.items():
                if value is None:
                    env.pop(name, None)
                else:
                    env[name] = value
        prepared["env"] = env
        if self._runs_ipykernel(prepared.get("cmd") or []):
            env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH", ""), str(SITE)) if p)
            # `extra_extensions` is for this: what the user's own configuration loads stays as it is.
            prepared["cmd"] = [*prepared["cmd"], "--IPKernelApp.extra_extensions=swangpu_kernel"]
        return prepared

    async def cleanup(self, restart: bool = False) -> None:
        """The kernel has ended; unless it comes back its share may go."""
        await super().cleanup(restart=restart)
        if not restart:
            BINDINGS.gone(str(self.kernel_id or ""))

    def _runs_ipykernel(self, command: list[str]) -> bool:
        language = getattr(self.kernel_spec, "language", "")
        return str(language).lower() == "python" and any("ipykernel" in part for part in command)


def make_default() -> tuple[str, str]:
    """Make ours the default provisioner, unless the site has chosen another.

    Returns
    -------
    (str, str)
        A code for ``swangpu doctor`` (``ours`` or ``site``) and the name of the default.
    """
    chosen = os.environ.get(KernelProvisionerFactory.default_provisioner_name_env)
    if chosen and chosen != PROVISIONER_NAME:
        return "site", chosen
    factory = KernelProvisionerFactory.instance()
    if factory.default_provisioner_name not in ("local-provisioner", PROVISIONER_NAME):
        return "site", factory.default_provisioner_name
    factory.default_provisioner_name = PROVISIONER_NAME
    return "ours", PROVISIONER_NAME
