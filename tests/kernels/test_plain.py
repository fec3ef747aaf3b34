"""A plain kernel is the standard one, but for ``%gpu``, which costs nothing until it is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from behind_agent import TIMEOUT_S, Attached

LOADED = "import sys; print(sorted(m for m in sys.modules if m.startswith('swangpu_kernel')))"


def test_gpu_is_there_and_loaded_when_it_is_used(attach: Callable[..., Attached]) -> None:
    kernel = attach("python3", None)
    assert kernel.run(LOADED) == "['swangpu_kernel']\n"
    asked = kernel.client.complete("%gpu exte")
    while (reply := kernel.client.get_shell_msg(timeout=TIMEOUT_S))["parent_header"].get("msg_id") != asked:
        pass
    assert "extend" in reply["content"]["matches"]
    assert "%gpu" in kernel.run("%gpu help")
    assert "swangpu_kernel.magics" in kernel.run(LOADED)
    # the second time it is the magic itself
    assert "%gpu" in kernel.run("%gpu help")


def test_what_people_configure_is_still_loaded(
    attach: Callable[..., Attached], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "ipython_config.py").write_text("c.InteractiveShellApp.extensions = ['autoreload']\n")
    (profile / "startup" / "mine.py").write_text("mine = 1\n")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    kernel = attach("python3", None)
    assert kernel.run("print(mine, 'autoreload' in get_ipython().magics_manager.magics['line'])") == "1 True\n"
    paths = kernel.run("import os; print(os.environ['PYTHONPATH'])").strip().split(os.pathsep)
    assert paths[0] == str(tmp_path), "what people put on the path comes before ours"


def test_another_language_gets_nothing_but_names(attach: Callable[..., Attached]) -> None:
    kernel = attach("bash", None)
    before = os.environ.get("PYTHONPATH", "")
    assert kernel.run('echo "<$PYTHONPATH>"').strip() == f"<{before}>"
