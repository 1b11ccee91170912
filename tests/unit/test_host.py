"""Which host this is, and that an instance exists once on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshd.config import WorkerSettings
from meshd.errors import InstanceTaken, MeshdError
from meshd.host import folder, host_id, take_place


def settings(directory: Path) -> WorkerSettings:
    return WorkerSettings(runtime_directory=directory / "run", state_directory=directory / "state")


def test_host_id_stays_and_differs_from_that_of_a_clone(tmp_path: Path) -> None:
    first = host_id(tmp_path / "one")
    assert host_id(tmp_path / "one") == first
    assert host_id(tmp_path / "two") != first, "the same machine id, another nonce"
    assert len(first) == 12
    assert int(first, 16) >= 0


def test_daemons_that_start_together_agree_on_the_host_id(tmp_path: Path) -> None:
    for attempt in range(20):
        directory = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(host_id, [directory] * 8))) == 1
        assert [path.name for path in directory.iterdir()] == ["host-nonce"]


def test_instance_is_taken_until_it_is_left(tmp_path: Path) -> None:
    place = take_place("a1", settings(tmp_path), "a1 runs already")
    assert place.slot == f"{host_id(tmp_path / 'state')}.a1"
    with pytest.raises(InstanceTaken, match="a1 runs already"):
        take_place("a1", settings(tmp_path), "a1 runs already")
    take_place("a2", settings(tmp_path), "").leave()
    place.leave()
    take_place("a1", settings(tmp_path), "").leave()


def test_lock_whose_file_was_removed_is_taken_on_the_new_file(tmp_path: Path) -> None:
    first = take_place("a1", settings(tmp_path), "")
    (tmp_path / "run" / "lock" / "a1.lock").unlink()
    second = take_place("a1", settings(tmp_path), "")
    with pytest.raises(InstanceTaken):
        take_place("a1", settings(tmp_path), "")
    first.leave()
    second.leave()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MeshdError, match=f"cannot use {tmp_path}/file.*: "):
        folder(tmp_path / "file" / "below")
