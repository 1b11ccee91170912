"""What the demonstration submits: each built-in type, on files that are really there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from meshd.config.schema import BUILT_IN_KINDS
from meshd.dev import jobs
from meshd.dev.words import in_words
from meshd.handlers import load
from meshd.protocol import dumps

MODULES = {module for modules in BUILT_IN_KINDS.values() for module in modules}
HANDLERS = {
    name: handler
    for name, handler in load(MODULES).items()
    if handler.function.__module__ in MODULES
}


def paths(task_type: str) -> list[Path]:
    found = [job.data["path"] for job in jobs.jobs() if job.type == task_type and not job.fails]
    return [Path(path) for path in found]


def test_every_built_in_type_is_submitted() -> None:
    assert {job.type for job in jobs.jobs()} == set(HANDLERS)


def test_exactly_one_fails_on_purpose_and_one_is_delayed() -> None:
    found = jobs.jobs()
    assert [job.type for job in found if job.fails] == ["text.frequencies"]
    assert [job.type for job in found if job.delay] == ["demo.sleep"]


def test_both_kinds_get_the_type_that_both_have() -> None:
    assert {job.kind for job in jobs.jobs() if job.type == "demo.sleep"} == {"a", "b"}


def test_payloads_are_json_far_below_the_size_limit() -> None:
    assert max(len(dumps(job.data)) for job in jobs.jobs()) < 2**18


@pytest.mark.parametrize("job", jobs.jobs(), ids=lambda job: f"{job.type} {job.about}"[:40])
def test_job_gives_what_is_expected_and_can_be_put_in_words(job: jobs.Job) -> None:
    if job.fails:
        with pytest.raises(Exception, match="no file here"):
            HANDLERS[job.type].call(job.data)
        return
    result = HANDLERS[job.type].call(job.data)
    assert job.answer in (None, result)
    words = in_words(job.type, result)
    assert words
    assert "\n" not in words


def test_burst_is_for_both_kinds_in_equal_parts_with_known_answers() -> None:
    found = list(jobs.burst(100))
    assert Counter(job.type for job in found) == {"primes.count": 50, "stats.regression": 50}
    assert all(job.small for job in found)
    for job in found[:2]:
        assert HANDLERS[job.type].call(job.data) == job.answer


@pytest.mark.parametrize(
    ("patterns", "task_type", "sample"),
    [
        ("_TEXTS", "text.frequencies", "lighthouse.txt"),
        ("_LOGS", "log.summarize", "service.log"),
        ("_TABLES", "csv.profile", "tides.csv"),
    ],
)
def test_shipped_file_is_taken_where_the_machine_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patterns: str, task_type: str, sample: str
) -> None:
    monkeypatch.setattr(jobs, patterns, (f"{tmp_path}/*",))
    assert [path.name for path in paths(task_type)] == [sample]


def test_largest_different_readable_files_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, length in (("empty", 0), ("c", 3), ("b", 2), ("d", 4), ("a", 1)):
        (tmp_path / name).write_text("x" * length)
    (tmp_path / "again").symlink_to("d")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(2**30)
    monkeypatch.setattr(jobs, "_TEXTS", (f"{tmp_path}/*",))
    found = paths("text.frequencies")
    assert [path.stat().st_size for path in found] == [4, 3, 2]


def test_python_without_readable_modules_still_gives_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jobs, "_PYTHON_LIBRARY", tmp_path)
    for job in jobs.jobs():
        if job.type.startswith("stats."):
            assert HANDLERS[job.type].call(job.data)
