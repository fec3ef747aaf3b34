"""``swangpu demo | status | run | report | simulate | doctor``: for terminals and scripts."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ._version import __version__

__all__ = ["main"]

#: what a shell and `env` use for "cannot be run"
EXIT_PROBLEM = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Returns
    -------
    int
        The exit code; of ``run`` that of its command.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    # `demo` hands what it does not know on to JupyterLab
    asked, rest = parser.parse_known_args(words)
    if asked.name == "demo":
        asked.lab_arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if asked.name is None:
        parser.print_help()
        return EXIT_USAGE
    from .errors import SwanGpuError

    try:
        command = importlib.import_module(f".commands.{asked.name}", __package__)
        return int(command.main(asked))
    except SwanGpuError as error:
        print(f"swangpu: {error.detail}", file=sys.stderr)
        if error.hint:
            print(f"swangpu: {error.hint}", file=sys.stderr)
        return int(getattr(error, "exit_code", EXIT_PROBLEM))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `swangpu status | head`: nobody reads on, and Python must not complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PROBLEM


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swangpu", description="The GPUs of your whole site, from a terminal.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"swangpu {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="a JupyterLab with a simulated fleet of GPUs",
        description="Start a JupyterLab with a simulated fleet of GPUs, apart from your own settings and files.",
        epilog="Further arguments go to JupyterLab.",
        allow_abbrev=False,
    )
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")
    demo.add_argument("--port", type=int, help="port to listen at")
    demo.add_argument("--token", help="token to log in with; a random one by default")
    demo.add_argument("--directory", help="where the demo keeps its files; a new temporary folder by default")

    status = commands.add_parser("status", help="what can be had, and what is mine", allow_abbrev=False)
    _add_server(status)
    _add_json(status)

    run = commands.add_parser(
        "run",
        help="hold a GPU while a command runs",
        description="Hold a GPU while a command runs; its exit code is passed on.",
        usage="swangpu run (--memory 10GB | --flavor NAME) [options] -- COMMAND [ARGUMENT ...]",
        allow_abbrev=False,
    )
    _add_server(run)
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("--memory", help="at least this much memory, such as 10GB")
    what.add_argument("--flavor", help="this kind of GPU; `swangpu status` lists them")
    run.add_argument("--for", dest="duration", metavar="TIME", help="for how long, such as 2h")
    run.add_argument("--on", dest="pool", metavar="POOL", help="only there")
    run.add_argument("--purpose", help="what it is for, in your list of sessions")
    run.add_argument("--wait", metavar="TIME", help="give up when none came free in this time")
    run.add_argument("--quiet", action="store_true", help="say nothing but errors")
    run.add_argument("command", nargs=argparse.REMAINDER, help="what to run, behind --")

    report = commands.add_parser("report", help="who used what, and what was asked for", allow_abbrev=False)
    reports = report.add_subparsers(dest="report", metavar="REPORT", required=True)
    _add_ledger_report(reports, "usage", "who used what")
    _add_ledger_report(reports, "demand", "what was asked for, and how long it took")
    _add_idle_report(reports)

    simulate = commands.add_parser(
        "simulate",
        help="what other rules, or other GPUs, would change",
        description="Simulate notebooks and GPUs under several schemes, with the very code that decides at a site.",
        allow_abbrev=False,
    )
    simulate.add_argument("scenario", metavar="SCENARIO", help="a TOML file; see docs/simulate.md")
    simulate.add_argument("--html", metavar="FILE", help="write a page with plots, in one file")
    _add_json(simulate)

    doctor = commands.add_parser("doctor", help="look at this installation and say what to do", allow_abbrev=False)
    doctor.add_argument(
        "--suspend-test",
        action="store_true",
        help="suspend and resume a process of its own on the GPUs here, and switch suspending on where that works",
    )
    _add_json(doctor)
    return parser


def _add_ledger_report(reports: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> None:
    report = reports.add_parser(name, help=about, allow_abbrev=False)
    _add_server(report)
    report.add_argument("--by", choices=["user", "group", "flavor", "pool"], default="user")
    report.add_argument("--last", metavar="TIME", default="30d", help="of this long until now (30d)")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="as CSV")
    _add_json(form)


def _add_idle_report(reports: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    idle = reports.add_parser(
        "idle",
        help="GPU-hours held, used and held idle, from a site's Prometheus",
        description="GPU-hours held, used and held idle, from dcgm-exporter's metrics in a Prometheus. It only reads, "
        "and needs nothing of swangpu on the site.",
        allow_abbrev=False,
    )
    idle.set_defaults(name="idle")  # it is a command of its own
    idle.add_argument("--prometheus", metavar="URL", required=True, help="such as http://127.0.0.1:9090")
    idle.add_argument("--days", type=float, default=30.0, help="of so many days until now (30)")
    idle.add_argument("--step", metavar="TIME", help="resolution, such as 5m; by default as fine as is sensible")
    idle.add_argument("--idle-below", type=float, default=1.0, metavar="PERCENT", help="less busy is an idle hold (1)")
    idle.add_argument("--hold", metavar="TIME", default="1h", help="shortest idle hold to list (1h)")
    idle.add_argument("--top", type=int, default=10, metavar="N", help="how many idle holds to show (10)")
    login = idle.add_mutually_exclusive_group()
    login.add_argument("--token-file", metavar="FILE", help="a file with a bearer token")
    login.add_argument("--basic-auth-file", metavar="FILE", help="a file with user:password")
    idle.add_argument("--html", metavar="FILE", help="write a page with plots, in one file")
    idle.add_argument("--csv", metavar="PATH", help="write tables: a folder gets one file each, a name.csv all in one")
    _add_json(idle)


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the Jupyter server's URL; your running one by default")
    parser.add_argument("--token-file", help="a file with its token (a command line can be read by others)")


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


if __name__ == "__main__":
    sys.exit(main())
