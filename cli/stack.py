"""`vyris run`, `up`, `down`, `status`, `logs`: the local stack.

The stack is imported when a command runs, so that `vyris --help` and the other commands stay fast.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stack.printable import printable

if TYPE_CHECKING:
    from stack.local import Stack
    from stack.log_lines import LogFollower

app = typer.Typer()
POLL_S = 0.1
ALIVE_CHECK_S = 1.0
# supervisord calls a process STARTING for its first second, even if it answers already.
RUNS = frozenset({"STARTING", "RUNNING"})


@app.command()
def run() -> None:
    """Start everything, show the logs, and stop everything on Ctrl-C.

    If there are many requests a second, it shows errors, some others and a count: `vyris logs -f` shows all.
    """
    from stack.log_lines import LogFollower  # noqa: PLC0415
    from stack.request_digest import RequestDigest  # noqa: PLC0415

    with _ended_by_signals() as received:
        stack = _stack()
        try:
            _start(stack, received, detached=False)
            typer.echo("Logs follow; Ctrl-C stops everything.\n")
            files = [stack.log_file(name) for name in stack.processes]
            _show(LogFollower(files, RequestDigest()), stack)
            typer.echo("The stack was stopped from elsewhere.")
        except KeyboardInterrupt:
            typer.echo("\nStopping … (Ctrl-C again: at once)")
            _stop(stack)


@app.command()
def up() -> None:
    """Start everything in the background."""
    with _ended_by_signals() as received:
        try:
            _start(_stack(), received, detached=True)
        except KeyboardInterrupt:
            typer.echo("Interrupted; everything is stopped.", err=True)
            raise typer.Exit(1) from None
        typer.echo(f"It runs in the background: `{_command()} logs -f` shows its logs, `make down` stops it.")


@app.command()
def down() -> None:
    """Stop everything that runs on this state folder."""
    stack = _find_stack()
    typer.echo("Everything is stopped." if stack.stop() else f"No stack runs on {stack.state.root}.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show each process and all addresses. Exit status 1 if a process does not run."""
    from rich.table import Table  # noqa: PLC0415

    stack = _find_stack()
    if not stack.is_running():
        typer.echo("{}" if as_json else f"No stack runs on {stack.state.root}: `make up` starts one.")
        raise typer.Exit(1)
    states, listens = stack.states(), stack.state.read_ports()
    if as_json:
        typer.echo(json.dumps({"processes": states, "listens": listens}, indent=2))
    else:
        table = Table("process", "state", "pid", "for", box=None)
        for name, process in states.items():
            table.add_row(name, str(process["state"]), str(process["pid"] or ""), _duration(int(process["uptime_s"])))
        Console().print(table)
        for name, where in listens.items():
            typer.echo(f"{name:<20} {where}")
    if any(process["state"] not in RUNS for process in states.values()):
        raise typer.Exit(1)


@app.command()
def logs(
    processes: Annotated[list[str] | None, typer.Argument(help="Only these processes.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each process to show first.")] = 20,
) -> None:
    """Show the logs in readable form."""
    from stack.log_lines import LogFollower, last_lines, readable  # noqa: PLC0415

    stack = _find_stack()
    known = {path.stem: path for path in sorted(stack.state.logs.glob("*.log"))}
    if not known:
        typer.echo(f"There are no logs in {stack.state.logs}: `make up` starts a stack.", err=True)
        raise typer.Exit(1)
    unknown = set(processes or ()) - set(known)
    if unknown:
        names = printable(", ".join(sorted(unknown)))
        typer.echo(f"vyris: no log of {names}; there is: {', '.join(known) or 'none'}.", err=True)
        raise typer.Exit(1)
    chosen = {name: path for name, path in known.items() if not processes or name in processes}
    follower = LogFollower(chosen.values())
    console = _log_console()
    for name, path in chosen.items():
        for line in last_lines(path, lines):
            console.print(readable(name, line, "cyan"))
    if follow:
        try:
            _show(follower, stack)
        except KeyboardInterrupt:
            return


def _stack() -> Stack:
    from stack.local import Stack  # noqa: PLC0415

    return Stack.from_environment()


def _find_stack() -> Stack:
    """Find the stack, to show or stop it, even if a setting is wrong now."""
    from stack.local import Stack  # noqa: PLC0415

    return Stack.find()


def _start(stack: Stack, received: Sequence[int], *, detached: bool) -> None:
    """Start everything. `received`: the signals so far; a KeyboardInterrupt inside a library's callback is lost."""
    if Path(".env").exists():
        _warn_of_misspelt_settings()
    began = time.monotonic()

    def report(what: str) -> None:
        if received:
            raise KeyboardInterrupt
        typer.echo(f"{time.monotonic() - began:5.1f} s  {what}")

    stack.start(detached=detached, on_progress=report)
    typer.echo(f"\n{stack.welcome()}\n")


def _warn_of_misspelt_settings() -> None:
    from cli.misspelt import misspelt_settings  # noqa: PLC0415 - it reads the settings of every part, for a second

    for name, meant in misspelt_settings():
        typer.echo(f".env: {name} is no setting and changes nothing; did you mean {meant}?", err=True)


def _stop(stack: Stack) -> None:
    """Stop everything. A second Ctrl-C kills it."""
    try:
        stack.stop()
    except KeyboardInterrupt:
        # Stop what still runs, without further interruptions.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.stop()
    typer.echo("Everything is stopped.")


def _show(follower: LogFollower, stack: Stack) -> None:
    """Print log lines until the stack is gone. Raises KeyboardInterrupt on Ctrl-C."""
    console = _log_console()
    checked = time.monotonic()
    while True:
        for line in follower.new_lines():
            console.print(line)
        if time.monotonic() - checked > ALIVE_CHECK_S:
            if not stack.is_running():
                return
            checked = time.monotonic()
        time.sleep(POLL_S)


def _log_console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)


def _command() -> str:
    """The command as the person can paste it: `make` calls it by a path that may not be in the person's PATH."""
    called = Path(sys.argv[0])
    return "vyris" if called.is_absolute() else str(called)


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """Treat a closed terminal and SIGTERM like Ctrl-C. Yields the signals that were received."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
