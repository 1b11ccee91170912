"""workers.conf: read by the rules of the generator, and changed in one place alone."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from meshd.errors import ConfigError, MeshdError
from meshd.systemd.workers_conf import MOST, instances, listed, read, with_number, write

GENERATOR = Path(__file__).parents[2] / "packaging/systemd/meshd-generator"
WRITTEN = """# which workers
a 2   # two of them
mail\t10
nonsense
a 1
"""


def test_kinds_and_numbers_are_read_and_nonsense_is_passed_over() -> None:
    assert listed(WRITTEN) == {"a": 2, "mail": 10}
    assert listed("") == {}
    assert listed("A 2\na1 2\na -1\na 1001\na 2 3\na\n2 a\n") == {}


def test_workers_are_counted_from_one() -> None:
    assert instances({"a": 2, "b": 0, "mail": 1}) == ["a1", "a2", "mail1"]


def test_number_is_changed_in_its_place_and_all_else_is_kept() -> None:
    assert with_number(WRITTEN, "a", 5) == (
        "# which workers\na 5  # two of them\nmail\t10\nnonsense\n"
    )


def test_kind_that_was_not_listed_is_added_at_the_end() -> None:
    assert with_number("a 2", "b", 1) == "a 2\nb 1\n"
    assert with_number("", "b", 1) == "b 1\n"


@given(
    text=st.text(alphabet="ab 012#\n\té", max_size=60),
    kind=st.sampled_from(["a", "b", "ab"]),
    number=st.integers(0, MOST),
)
def test_what_was_written_is_what_is_read(text: str, kind: str, number: int) -> None:
    before = listed(text)
    assert listed(with_number(text, kind, number)) == {**before, kind: number}


@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet="abz 012#\n\t-Ax", max_size=60))
def test_generator_reads_the_same_as_the_command(text: str) -> None:
    by_generator = _generated(text)
    assert sorted(instances(listed(text))) == by_generator


def _generated(text: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        etc, out = Path(folder, "etc"), Path(folder, "out")
        etc.mkdir()
        out.mkdir()
        (etc / "workers.conf").write_text(text)
        environment = {**os.environ, "MESHD_ETC": str(etc), "MESHD_KMSG": "/dev/null"}
        subprocess.run(["sh", GENERATOR, out], check=True, env=environment)
        wants = (out / "meshd.target.wants").glob("*")
        return sorted(
            link.name.removeprefix("meshd-worker@").removesuffix(".service") for link in wants
        )


def test_absent_file_lists_nothing_and_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "workers.conf"
    assert read(path) == ""
    write(path, "a 1\n")
    assert (read(path), path.stat().st_mode & 0o777) == ("a 1\n", 0o644)


def test_mode_of_the_file_is_kept_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "workers.conf"
    path.write_text("a 1\n")
    path.chmod(0o640)
    write(path, "a 2\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["workers.conf"]


def test_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "workers.conf").mkdir()
    with pytest.raises(ConfigError, match=r"workers\.conf: cannot be read"):
        read(tmp_path / "workers.conf")
    with pytest.raises(MeshdError, match=r"absent/workers\.conf: cannot be written"):
        write(tmp_path / "absent" / "workers.conf", "a 1\n")
