"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_setting_is_documented() -> None:
    from swangpu.server.extension import SwanGpu

    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    ours = {name: trait for name, trait in SwanGpu.class_own_traits(config=True).items() if name in vars(SwanGpu)}
    documented = set(re.findall(r"^\| `SwanGpu\.(\w+)`", text, flags=re.MULTILINE))
    assert documented == set(ours)
    for name, trait in ours.items():
        if isinstance(trait.default_value, int | float) and not isinstance(trait.default_value, bool):
            assert f"| `SwanGpu.{name}` | `{trait.default_value:g}`" in text, name


def test_every_option_of_the_idle_report_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    from swangpu import cli

    with pytest.raises(SystemExit):
        cli.main(["report", "idle", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help", "--prometheus"}
    text = (ROOT / "docs" / "idle-report.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(--[a-z-]+)", text, flags=re.MULTILINE)) == options


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "adr"
    text = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("0*.md"):
        assert f"[{page.name[:4]}]({page.name})" in text
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ")
