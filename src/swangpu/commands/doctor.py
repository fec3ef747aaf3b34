"""``swangpu doctor``: what is found, and what to do about it."""

from __future__ import annotations

import argparse
import json

from ..doctor import Finding, examine

__all__ = ["main"]

_MARKS = {"ok": "ok     ", "info": "note   ", "warning": "warning", "problem": "problem"}


def main(asked: argparse.Namespace) -> int:
    """Exit code 0 unless there is a problem; what can't be tried here is none."""
    if asked.suspend_test:
        from ..suspend_test import examine_by_trying

        findings = examine_by_trying()
    else:
        findings = examine()
    if asked.json:
        print(json.dumps({"findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(_text(finding))
    return 1 if any(finding.status == "problem" for finding in findings) else 0


def _text(finding: Finding) -> str:
    line = f"{_MARKS[finding.status]}  {finding.title}: {finding.text}"
    return f"{line}\n         {finding.hint}" if finding.hint else line
