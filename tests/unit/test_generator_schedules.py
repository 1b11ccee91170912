"""Schedules as the generator reads them: a timer for each, and the same verdict as `meshd config
check`, which reads them with another parser.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshd.config import parse_duration
from meshd.config.schedules import Schedule, load_schedule
from meshd.errors import ConfigError

GENERATOR = Path(__file__).parents[2] / "packaging/systemd/meshd-generator"
RIGHT = 'type = "x"\non_calendar = "daily"\n'
Generate = Callable[..., "Generated"]


class Generated:
    """What one run made of a folder of schedules."""

    def __init__(self, out: Path, said: str, done: subprocess.CompletedProcess[str]) -> None:
        self.out = out
        self.said = said.splitlines()
        self.done = done

    @property
    def timers(self) -> set[str]:
        wanted = {link.name for link in (self.out / "meshd.target.wants").glob("meshd-submit@*")}
        assert wanted == {file.name for file in self.out.glob("meshd-submit@*.timer")}
        return {name.removeprefix("meshd-submit@").removesuffix(".timer") for name in wanted}

    def lines(self, name: str) -> list[str]:
        """What stands below [Timer]."""
        text = (self.out / f"meshd-submit@{name}.timer").read_text()
        return text.partition("[Timer]\n")[2].splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "etc/schedules"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def generate(tmp_path: Path, folder: Path) -> Generate:
    def run(**schedules: str | bytes) -> Generated:
        for name, text in schedules.items():
            data = text if isinstance(text, bytes) else text.encode()
            (folder / f"{name}.toml").write_bytes(data)
        out, log = tmp_path / "out", tmp_path / "kmsg"
        shutil.rmtree(out, ignore_errors=True)
        log.unlink(missing_ok=True)
        out.mkdir()
        done = subprocess.run(
            ["sh", GENERATOR, out],
            env={
                "PATH": os.environ["PATH"], "MESHD_ETC": str(folder.parent), "MESHD_KMSG": str(log),
            },
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return Generated(out, log.read_text() if log.exists() else "", done)

    return run


def test_schedule_becomes_a_timer_that_the_target_wants(generate: Generate, folder: Path) -> None:
    made = generate(nightly='type = "report"\non_calendar = "*-*-* 03:00"\n[data]\na = 1\n')
    assert made.said == []
    assert (made.out / "meshd.target.wants/meshd-submit@nightly.timer").readlink() == Path(
        "../meshd-submit@nightly.timer"
    )
    assert (made.out / "meshd-submit@nightly.timer").read_text() == (
        "[Unit]\nDescription=When to submit nightly to meshd\nDocumentation=man:meshd.toml(5)\n"
        f"SourcePath={folder}/nightly.toml\nPartOf=meshd.target\n\n"
        "[Timer]\nOnCalendar=*-*-* 03:00\nPersistent=true\nRandomizedDelaySec=0\nAccuracySec=1s\n"
    )


def test_timer_has_all_calendars_and_what_is_said_of_the_rest(generate: Generate) -> None:
    made = generate(
        one='type="x"\nOnCalendar=["Mon..Fri 09:00 Europe/Berlin", # work\n "Sat *:0/5",\n]\n'
        'persistent = false\nrandomized_delay = "1h 30min"\n'
    )
    assert made.lines("one") == [
        "OnCalendar=Mon..Fri 09:00 Europe/Berlin", "OnCalendar=Sat *:0/5", "Persistent=false",
        "RandomizedDelaySec=1h 30min", "AccuracySec=1s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "type: expected a type of task"),
        ('type = ""\non_calendar = "daily"\n', "type: expected"),
        ("type = 3\non_calendar = 'daily'\n", "type: expected"),
        ('type = "x"\n', "on_calendar: expected a calendar"),
        ('type = "x"\non_calendar = []\n', "expected 1 to 20"),
        ('type = "x"\non_calendar = [3]\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = 3\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = "  "\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = "*:*:0/0.5"\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = "%n"\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = "daily\\nExecStart=/bin/sh"\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = """daily\nOnBootSec=1"""\n', "on_calendar: expected"),
        ('type = "x"\non_calendar = "daily"\nOnCalendar = "daily"\n', "another word"),
        (RIGHT + 'persistent = "yes"\n', "persistent: expected true or false"),
        (RIGHT + 'randomized_delay = "soon"\n', "randomized_delay: expected a duration"),
        (RIGHT + "randomized_delay = -1\n", "randomized_delay: expected"),
        (RIGHT + "randomized_delay = true\n", "randomized_delay: expected"),
        (RIGHT + 'randomized_delay = ""\n', "randomized_delay: expected"),
        (RIGHT + 'id = "x"\n', "id: is not known"),
        (RIGHT + '"\\u0001" = 1\n', "a key: is not known"),
        (RIGHT + "type = 'y'\n", "type: found twice"),
        (RIGHT + "kind\n", "line 3: expected ="),
        (RIGHT + "kind = \n", "line 3: expected a value"),
        (RIGHT + "kind = 'a' 'b'\n", "line 3: expected the end of the line"),
        (RIGHT + "= 3\n", "line 3: expected a key"),
        (RIGHT + 'data = "abc\n', "line 3: expected a value"),
        (RIGHT + "data = [1, 2\n", "expected"),
        (RIGHT + f"data = {'[' * 100_000}", "nested too deeply"),
        (RIGHT.encode() + b"# \xff\n", "expected UTF-8 text"),
        (RIGHT + "# \x00\n", "expected UTF-8 text"),
        (RIGHT + "# a\rkind = 'a'\n", "expected UTF-8 text"),
        ("\x1f" * 1000, "expected UTF-8 text"),
        ("x" * (1 << 20), "too large"),
    ],
)
def test_nonsense_is_one_line_and_no_timer_and_others_are_made(
    generate: Generate, text: str | bytes, told: str
) -> None:
    made = generate(bad=text, good=RIGHT)
    assert made.timers == {"good"}
    (line,) = made.said
    assert line.startswith("<4>meshd-generator: schedules/bad.toml: ")
    assert told in line
    assert line.isprintable()


def test_what_is_no_schedule_is_passed_over_and_bad_names_are_told(
    generate: Generate, folder: Path
) -> None:
    for name in ("README", "x.toml.sample", ".hidden.toml", "x.toml~"):
        (folder / name).write_text(RIGHT)
    for name in ("a b", "ä", "n" * 65, "a@b", "$(reboot)", "line\nbreak"):
        (folder / f"{name}.toml").write_text(RIGHT)
    made = generate(good=RIGHT)
    assert made.timers == {"good"}
    assert len(made.said) == 6
    assert all(line.isprintable() for line in made.said)


def test_folder_fifo_and_dangling_link_hinder_nothing(generate: Generate, folder: Path) -> None:
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "fifo.toml")
    (folder / "gone.toml").symlink_to("/nonexistent")
    made = generate(good=RIGHT)
    assert made.timers == {"good"}
    assert [line.split(": ")[1] for line in made.said] == [
        f"schedules/{name}.toml" for name in ("fifo", "folder", "gone")
    ]


def test_without_a_folder_nothing_is_said(generate: Generate, folder: Path) -> None:
    folder.rmdir()
    assert generate().said == []


def test_ten_schedules_take_less_than_a_tenth_of_a_second(generate: Generate) -> None:
    names = [f"n{at}" for at in range(10)]
    text = RIGHT + "data = { list = [1, 2, 3], text = 'x' }\n"
    took = []
    for _ in range(5):
        before = time.monotonic()
        made = generate(**dict.fromkeys(names, text))
        took.append(time.monotonic() - before)
    assert made.timers == set(names)
    assert min(took) < 0.1


# --- two parsers, one verdict -------------------------------------------------------------------

KEYS = ("on_calendar", "OnCalendar", '"on_calendar"')
TEXTS = ("daily", "Mon..Fri 03:00 Europe/Berlin", "*:0/5", "", " ", "0.5", "a%b", "x\ny", "ä")
DELAYS = ("0s", "5min 20s", "1.5h", "30", "soon", "1 h", "5 5", "2w", "3 µs", "infinity", "-1s")
NUMBERS = ("0", "600", "1_000", "+5", "6e2", "1.5", "-3", "0x10", "0o17", "0b1", "inf", "nan", "1.")
DATA = (
    "1", "true", '"x # y"', "'''a\nb''c'''", '"""a\n\\"""b""c"""', "[1, [2, 3], # c\n 4,]", '""',
    "{ a = 1, b.c = [true], 'd e' = \"f\" }", "{}", "[]", "'''it's'''''", '"""say "hi\\""""',
    "[{a=1},{a=2}]", "-0.5e-3", '"\\u00e9\\t"', "{ a = 1, }", "[1 2]", "'a\\'",
)  # fmt: skip


def quoted(chance: random.Random, text: str) -> str:
    """Text as TOML may write it."""
    styles = [json.dumps(text, ensure_ascii=chance.random() < 0.5)]
    if text.isprintable():
        styles += [f"'{text}'", f"'''\n{text}'''", f'"""\\\n   {text}"""']
    return chance.choice(styles)


def document(chance: random.Random) -> str:
    """Something that is often a schedule."""
    calendars = [quoted(chance, chance.choice(TEXTS[: chance.choice((3, 3, 9))])) for _ in "ab"]
    calendar = chance.choice((calendars[0], f"[{', '.join(calendars)}]", f"[\n{calendars[0]},\n]"))
    lines = [
        f"type = {quoted(chance, 'report.build')}",
        f"{chance.choice(KEYS)} = {calendar}",
    ]
    maybe = [
        f"randomized_delay = {quoted(chance, chance.choice(DELAYS))}",
        f"randomized_delay = {chance.choice(NUMBERS)} # seconds",
        f"persistent={chance.choice(('true', 'false'))}",
        f"data = {chance.choice(DATA)}",
        "data.a = 1\ndata . 'b c' = 2",
        "",
        "   # a comment",
        'kind = "a"',
    ]
    lines += chance.sample(maybe, chance.randrange(5))
    chance.shuffle(lines)
    end = chance.choice(("", "", "[data]\nx = 1\n", "[ data . deeper ]\nlist = [\n1]\n"))
    return chance.choice(("\n", "\n", "\r\n")).join(lines) + "\n" + end


def torn(chance: random.Random, text: str) -> bytes:
    """The same with something broken in it."""
    data = bytearray(text.encode())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.choice(
            [b"", b'"', b"'", b"[", b"]", b"{", b"=", b"\n", b"#", b"\\", b".", b"\xff", b"a"]
        )
    return bytes(data)


def verdict(folder: Path, name: str) -> tuple[Schedule | None, str]:
    """What the check makes of a schedule, or what it says of it."""
    try:
        return load_schedule(folder, name), ""
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize("seed", range(4))
def test_generator_makes_a_timer_of_exactly_what_the_check_finds_right(
    generate: Generate, folder: Path, seed: int
) -> None:
    chance = random.Random(seed)
    made = generate(**{f"n{at}": document(chance) for at in range(500)})
    right = 0
    for at in range(500):
        name = f"n{at}"
        text = (folder / f"{name}.toml").read_text()
        schedule, why = verdict(folder, name)
        if schedule is None:
            # What is wrong with the rest the unit will say.
            of_timer = re.search(r": (on_calendar|OnCalendar|randomized_delay|persistent): ", why)
            assert of_timer is None or name not in made.timers, (text, why)
            continue
        right += 1
        assert name in made.timers, (text, [line for line in made.said if name in line])
        lines = made.lines(name)
        calendars = [line.removeprefix("OnCalendar=") for line in lines if "OnCal" in line]
        assert tuple(calendars) == schedule.on_calendar, text
        assert f"Persistent={str(schedule.persistent).lower()}" in lines
        (delay,) = [line for line in lines if line.startswith("RandomizedDelaySec=")]
        assert parse_duration(delay.partition("=")[2]) == schedule.randomized_delay, text
    assert 100 < right < 400


@pytest.mark.parametrize("seed", range(4))
def test_torn_schedules_are_timers_where_the_check_finds_them_right(
    generate: Generate, folder: Path, seed: int
) -> None:
    chance = random.Random(seed)
    made = generate(**{f"n{at}": torn(chance, document(chance)) for at in range(500)})
    assert all(line.startswith("<4>meshd-generator: schedules/n") for line in made.said)
    for at in range(500):
        schedule, _ = verdict(folder, f"n{at}")
        assert schedule is None or schedule.name in made.timers, (
            (folder / f"n{at}.toml").read_bytes(),
            [line for line in made.said if f"/n{at}." in line],
        )
