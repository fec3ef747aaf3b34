"""The kernel side works in any Python from 3.9 on, with IPython and nothing of ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import swangpu.kernel_side as package

FOLDER = Path(package.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
#: better parts that are used when they are there, each behind a try
OPTIONAL = {"anywidget", "traitlets", "cloudpickle", "comm", "jupyter_core"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_syntax_is_that_of_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    assert lazy or path.name == "__init__.py", "annotations must not be evaluated"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_ipython_only(path: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "nothing above this folder is there in the kernel"
    assert names <= {*sys.stdlib_module_names, "IPython", *OPTIONAL}


def test_it_is_found_in_its_folder_by_another_name() -> None:
    program = """
import sys
sys.path = [p for p in sys.path if "site-packages" not in p and "swangpu" not in p] + [sys.argv[1]]
import swangpu_kernel.carry, swangpu_kernel.stack, swangpu_kernel.guard, swangpu_kernel.hold
assert not [name for name in sys.modules if name.split(".")[0] in ("swangpu", "IPython", "httpx", "msgspec")]
"""
    subprocess.run([sys.executable, "-I", "-c", program, str(FOLDER / "_site")], check=True)
