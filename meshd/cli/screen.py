"""The dashboard of `meshd top` as rich shows it. It only looks at the state."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from meshd.cli.dashboard import HELP, Dashboard, name_of
from meshd.cli.fleet import Record
from meshd.cli.table import coarse, plain, size

WIDTH_OF_BARS = 24
_WITHOUT_BARS = 90  # columns
_STYLES = {
    "idle": "green", "running": "bold green", "starting": "cyan", "paused": "yellow",
    "draining": "yellow", "holding": "red", "lost": "red", "failed": "bold red",
    "not running": "red",
}  # fmt: skip


def screen(board: Dashboard, log: Sequence[str], width: int, height: int) -> RenderableType:
    """Everything, for a terminal of so many columns and lines."""
    layout = Layout()
    kinds = len(board.queues) + 4
    workers = min(len(board.workers) + 4, max(6, (height - kinds) // 2))
    layout.split_column(
        Layout(_kinds(board, width), name="kinds", size=kinds),
        Layout(_workers(board, workers - 4), name="workers", size=workers),
        Layout(_log(board, log), name="log"),
        Layout(_foot(board), name="foot", size=3 if board.shows_help else 1),
    )
    return layout


def _kinds(board: Dashboard, width: int) -> RenderableType:
    bars = max(0, min(WIDTH_OF_BARS, (width - _WITHOUT_BARS) // 2))
    table = Table(expand=True, box=None, pad_edge=False, header_style="bold")
    for name in ("KIND", "WAITING", "OLDEST", "RUNNING", "SCHEDULED", "DEAD", "WORKERS"):
        table.add_column(name, justify="left" if name == "KIND" else "right", no_wrap=True)
    table.add_column("DONE/S", no_wrap=True)
    table.add_column("WAIT", no_wrap=True)
    for queue in board.queues:
        kind = queue["kind"]
        rate, wait = board.rates[kind], board.waits[kind]
        oldest = queue["oldest"]
        table.add_row(
            f"{kind or '(inbox)'}{' paused' if queue['paused'] else ''}",
            f"{queue['waiting']:,}",
            "-" if oldest is None else coarse(oldest),
            f"{queue['running']:,}",
            f"{queue['scheduled']:,}",
            Text(f"{queue['dead']:,}", style="red" if queue["dead"] else ""),
            str(queue["workers"]),
            f"{rate.last:8,.1f} {rate.bars(bars)}",
            f"{coarse(wait.last):>9} {wait.bars(bars)}",
            style="reverse" if board.selected == kind else "",
        )
    return Panel(table, title="kinds", title_align="left")


def _workers(board: Dashboard, rows: int) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False, header_style="bold")
    for name in ("WORKER", "HOST", "STATE"):
        table.add_column(name, no_wrap=True)
    table.add_column("TASK", ratio=1, no_wrap=True)
    for name in ("CPU", "MEMORY", "RESTARTS", "RATE", "DONE", "FAILED"):
        table.add_column(name, justify="right", no_wrap=True)
    names = [name_of(each) for each in board.workers]
    at = names.index(board.selected) if board.selected in names else 0
    first = max(0, min(at - rows + 1, len(names) - rows))
    for worker in board.workers[first : first + max(1, rows)]:
        table.add_row(*_cells(worker), style="reverse" if name_of(worker) == board.selected else "")
    return Panel(table, title="workers", title_align="left")


def _cells(worker: Record) -> list[RenderableType]:
    counts = worker.get("counts", {})
    running = ", ".join(
        f"{task['type']} for {coarse(task['for'])}" for task in worker.get("running", ())
    )
    state = str(worker["state"])
    return [
        plain(str(worker["instance"])),
        plain(str(worker["host"])),
        Text(plain(state), style=_STYLES.get(state, "")),
        Text(plain(running) or "-"),
        f"{worker['cpu']:.0f}%" if "cpu" in worker else "-",
        size(worker["memory"]) if "memory" in worker else "-",
        str(worker.get("restarts", "-")),
        f"{worker.get('rate', 0):,.1f}",
        f"{counts.get('done', 0):,}",
        f"{counts.get('failed', 0):,}",
    ]


def _log(board: Dashboard, log: Sequence[str]) -> RenderableType:
    # The end is what counts, so that lines which do not fit are missing at the top.
    lines = Group(*(Text(plain(line), no_wrap=True, overflow="ellipsis") for line in log))
    return Panel(lines, title=f"log of {board.selected or '-'}", title_align="left")


def _foot(board: Dashboard) -> RenderableType:
    lines = [Text(line, style="dim") for line in HELP] if board.shows_help else []
    said = board.message or "? help   q quit"
    return Group(*lines, Text(plain(said), style="bold" if board.message else "dim"))
