"""The process that the suspend test suspends."""

from __future__ import annotations

from pathlib import Path

import pytest

from swangpu.kernels.checkpoint_machine import DeviceFacts
from swangpu.kernels.checkpoint_trial import _Silent, _Subject


async def test_it_runs_nothing_that_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("open('ran', 'w')")
    subject = await _Subject.start(DeviceFacts("GPU-no-such", "T4"), "look")
    try:
        with pytest.raises(_Silent, match=r"driver|cu"):
            await subject.ask()
    finally:
        await subject.end()
    assert not (tmp_path / "ran").exists()
