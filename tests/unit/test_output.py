"""What handlers print and log: lines with the id of their task, whatever they do to the streams."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd import current
from meshd.current import CurrentTask
from meshd.journal import VALUE_LIMIT, Journal
from meshd.runner.output import Lines
from tests.support.fake_journal import FakeJournal

TASK = CurrentTask("t1", "demo.print", 2, 0, 60.0, "a", "worker_a_1")
TOP = Path(__file__).parents[2]
OF_TASK = {"MESHD_TASK_ID": "t1", "MESHD_TYPE": "demo.print", "MESHD_ATTEMPT": "2"}


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[FakeJournal]:
    with FakeJournal(tmp_path) as listening:
        yield listening


@pytest.fixture
def journal(journald: FakeJournal) -> Iterator[Journal]:
    opened = Journal({}, journald.path)
    yield opened
    opened.close()


class Printing:
    """A stream over Lines, and the file behind it."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.file = path
        self.behind = io.FileIO(path, "w")
        self.lines = Lines(self.behind, journal)
        self.stream = io.TextIOWrapper(
            io.BufferedWriter(self.lines), "utf-8", "backslashreplace", line_buffering=True
        )

    def close(self) -> None:
        self.stream.close()
        self.behind.close()


@pytest.fixture
def printing(tmp_path: Path, journal: Journal) -> Iterator[Printing]:
    made = Printing(tmp_path / "behind", journal)
    yield made
    made.close()


@pytest.fixture
def running() -> Iterator[None]:
    current.enter(TASK)
    yield
    current.leave()


def messages(journald: FakeJournal) -> list[str]:
    return [entry["MESSAGE"] for entry in journald.entries()]


@pytest.mark.usefixtures("running")
def test_printed_line_has_the_fields_of_the_running_task(
    printing: Printing, journald: FakeJournal
) -> None:
    print("half", 1, file=printing.stream)
    assert journald.entries() == [{"MESSAGE": "half 1", "PRIORITY": "6", **OF_TASK}]


def test_line_that_is_printed_at_import_belongs_to_no_task(
    printing: Printing, journald: FakeJournal
) -> None:
    print("loading", file=printing.stream)
    assert journald.entries() == [{"MESSAGE": "loading", "PRIORITY": "6"}]


@pytest.mark.usefixtures("running")
def test_thread_prints_for_the_task_that_has_started_it(
    printing: Printing, journald: FakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    current.bind_threads()
    thread = threading.Thread(target=lambda: print("from a thread", file=printing.stream))
    thread.start()
    thread.join()
    assert journald.entries() == [{"MESSAGE": "from a thread", "PRIORITY": "6", **OF_TASK}]


def test_line_is_one_entry_however_it_was_written(
    printing: Printing, journald: FakeJournal
) -> None:
    print("one, ", end="", flush=True, file=printing.stream)
    assert messages(journald) == []
    print("two\nthree", file=printing.stream)
    printing.stream.buffer.write(b"bytes \xff\n")
    printing.stream.flush()
    assert messages(journald) == ["one, two", "three", "bytes \\xff"]


def test_line_without_an_end_ends_with_its_task(printing: Printing, journald: FakeJournal) -> None:
    print("no end", end="", flush=True, file=printing.stream)
    printing.lines.end()
    printing.lines.end()
    assert messages(journald) == ["no end"]


def test_endless_line_is_cut_and_not_kept(printing: Printing, journald: FakeJournal) -> None:
    for _ in range(3):
        printing.stream.write("x" * VALUE_LIMIT)
        printing.stream.flush()
    printing.lines.end()
    assert "".join(messages(journald)) == "x" * 3 * VALUE_LIMIT


@pytest.mark.parametrize(
    ("printed", "message", "priority"),
    [
        ("<3>bad", "bad", "3"), ("<7>fine", "fine", "7"), ("<8>odd", "<8>odd", "6"),
        ("<b>bold</b>", "<b>bold</b>", "6"), ("a <3>", "a <3>", "6"),
    ],
)  # fmt: skip
def test_line_may_say_its_own_priority(
    printing: Printing, journald: FakeJournal, printed: str, message: str, priority: str
) -> None:
    print(printed, file=printing.stream)
    assert journald.entries() == [{"MESSAGE": message, "PRIORITY": priority}]


def test_lines_go_where_they_went_before_when_journald_does_not_listen(
    tmp_path: Path,
) -> None:
    printing = Printing(tmp_path / "behind", Journal({}, str(tmp_path / "nobody")))
    print("one\n<3>two", file=printing.stream)
    assert printing.file.read_text() == "one\n<3>two\n"
    printing.close()


def test_child_process_can_be_given_the_stream(printing: Printing) -> None:
    subprocess.run(["echo", "from a child"], stdout=printing.stream, check=True)
    assert printing.file.read_text() == "from a child\n"


def logging_in_a_fresh_process(code: str, journald: str = "") -> str:
    """What reaches standard error when handlers log this for the task t1."""
    journal = f"Journal({{}}, {journald!r})" if journald else None
    program = f"""
import io, logging, sys
from meshd import current
from meshd.journal import Journal
from meshd.runner.output import take_over_logging
log = logging.getLogger("app")
current.enter(current.CurrentTask{tuple(TASK)})
{code.format(take_over=f"take_over_logging({journal})")}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TOP
    )
    return done.stderr


def test_record_is_one_entry_with_its_traceback_and_where_it_was_made(
    journald: FakeJournal,
) -> None:
    code = """
{take_over}
log.info("all %s", "well")
try:
    raise ValueError("no")
except ValueError:
    log.exception("it went wrong")
"""
    assert logging_in_a_fresh_process(code, journald.path) == ""
    well, wrong = journald.entries()
    assert (well["MESSAGE"], well["PRIORITY"], well["MESHD_LOGGER"]) == ("all well", "6", "app")
    assert wrong["PRIORITY"] == "3"
    assert wrong["MESSAGE"].startswith("it went wrong\nTraceback (most recent call last):\n")
    assert wrong["MESSAGE"].endswith("\nValueError: no")
    assert (wrong["CODE_FILE"], wrong["CODE_FUNC"]) == ("<string>", "<module>")
    assert all(OF_TASK.items() <= entry.items() for entry in (well, wrong))


def test_functions_of_the_module_need_no_set_up_either(journald: FakeJournal) -> None:
    code = """
{take_over}
logging.info("well")
logging.basicConfig(format="theirs, too late: %(message)s")
logging.warning("still well")
"""
    assert logging_in_a_fresh_process(code, journald.path) == ""
    assert messages(journald) == ["well", "still well"]


def test_handlers_may_set_it_up_anew_by_force(journald: FakeJournal) -> None:
    code = """
{take_over}
logging.basicConfig(format="theirs: %(message)s", force=True)
log.warning("well")
"""
    assert logging_in_a_fresh_process(code, journald.path) == "theirs: well\n"
    assert journald.entries() == []


def test_record_names_its_task_where_there_is_no_journal() -> None:
    said = logging_in_a_fresh_process("{take_over}\nlog.warning('late')")
    assert said == "WARNING app: late task_id=t1\n"


def test_record_reaches_the_old_place_where_journald_does_not_listen(tmp_path: Path) -> None:
    said = logging_in_a_fresh_process("{take_over}\nlog.info('late')", str(tmp_path / "nobody"))
    assert said == "INFO app: late task_id=t1\n"


def test_record_that_cannot_be_printed_costs_the_task_nothing() -> None:
    said = logging_in_a_fresh_process("{take_over}\nlog.warning('%d', 'seven')")
    assert "a record of app cannot be printed" in said


def test_logging_that_the_handlers_have_set_up_is_left_as_it_is(journald: FakeJournal) -> None:
    code = """
logging.basicConfig(format="%(levelname)s %(message)s")
{take_over}
log.info("dropped, as they have it")
log.warning("kept")
"""
    assert logging_in_a_fresh_process(code, journald.path) == "WARNING kept\n"
    assert journald.entries() == []


def test_runner_imports_no_logging_for_those_who_do_not_use_it() -> None:
    code = "import sys, meshd.runner.__main__; print('logging' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, ''); {code}"],
        capture_output=True, text=True, check=True, cwd=TOP,
    )  # fmt: skip
    assert done.stdout == "False\n"
