"""Textfiles: written whole, merged into one valid page, dropped with their daemons."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from meshd.metrics.textfile import Orphans, Textfile, merged
from meshd.protocol import LEASE_SECONDS

A1 = b"""# HELP meshd_x_total An x.
# TYPE meshd_x_total counter
meshd_x_total{daemon="a1",type="# HELP me"} 1.0
meshd_x_total{daemon="a1",type="b"} 2.0
# HELP meshd_y A y.
# TYPE meshd_y gauge
meshd_y{daemon="a1"} 3.0
"""
A2 = b"""# HELP meshd_x_total An x.
# TYPE meshd_x_total counter
meshd_x_total{daemon="a2",type="b"} 4.0
"""
MERGED = b"""# HELP meshd_x_total An x.
# TYPE meshd_x_total counter
meshd_x_total{daemon="a1",type="# HELP me"} 1.0
meshd_x_total{daemon="a1",type="b"} 2.0
meshd_x_total{daemon="a2",type="b"} 4.0
# HELP meshd_y A y.
# TYPE meshd_y gauge
meshd_y{daemon="a1"} 3.0
"""


def test_file_is_replaced_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    file = Textfile(tmp_path, "a1")
    before = os.umask(0o077)
    try:
        file.write(b"first\n")
        reader = file.path.open("rb")
        file.write(b"second\n")
    finally:
        os.umask(before)
    with reader:
        assert reader.read() == b"first\n"
    assert file.path.read_bytes() == b"second\n"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["a1.prom"]


def test_file_is_removed_once_and_for_all(tmp_path: Path) -> None:
    file = Textfile(tmp_path, "a1")
    file.write(b"x")
    file.remove()
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_families_of_several_daemons_are_in_one_piece_each(tmp_path: Path) -> None:
    Textfile(tmp_path, "a1").write(A1)
    Textfile(tmp_path, "a2").write(A2)
    assert merged(tmp_path) == MERGED


def test_what_is_no_finished_textfile_is_passed_over(tmp_path: Path) -> None:
    Textfile(tmp_path, "a2").write(A2)
    (tmp_path / "a1.prom.tmp").write_bytes(A1[:70])
    (tmp_path / "empty.prom").touch()
    (tmp_path / "other.prom").write_text("no help, no family\n")
    os.mkfifo(tmp_path / "fifo.prom")
    (tmp_path / "link.prom").symlink_to("a2.prom")
    (tmp_path / "folder.prom").mkdir()
    assert merged(tmp_path) == A2


def test_empty_directory_is_an_empty_page(tmp_path: Path) -> None:
    assert merged(tmp_path) == b""


def test_file_that_nobody_writes_any_more_is_dropped(tmp_path: Path) -> None:
    dead, living = Textfile(tmp_path, "a1"), Textfile(tmp_path, "a2")
    dead.write(b"x")
    (tmp_path / "a1.prom.tmp").touch()
    (tmp_path / "README").touch()
    orphans = Orphans(tmp_path)
    for second in range(int(LEASE_SECONDS)):
        living.write(b"x")
        os.utime(living.path, ns=(0, second))  # a coarse clock may give two writings one time
        assert orphans.drop(float(second)) == []
    living.write(b"x")
    assert sorted(orphans.drop(LEASE_SECONDS)) == ["a1.prom", "a1.prom.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README", "a2.prom"]


def test_clock_that_was_set_does_not_make_the_living_look_dead(tmp_path: Path) -> None:
    file = Textfile(tmp_path, "a1")
    file.write(b"x")
    os.utime(file.path, (0, 0))
    assert Orphans(tmp_path).drop(1e9) == []
