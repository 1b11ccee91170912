"""`meshd config check` and `meshd config show`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meshd.cli import main

STEERING = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "WORKER_ID", "MESHD_ENV", "MESHD_CONFIG")


@pytest.fixture(autouse=True)
def _unsteered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STEERING:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """A configuration with this text, whose Redis is not there."""

    def write(text: str) -> str:
        file = tmp_path / "meshd.toml"
        file.write_text(f'[redis]\nurl = "unix://{tmp_path}/no.sock"\n{text}')
        return str(file)

    return write


def test_valid_configuration_is_said_to_be_so(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = written("[kinds.a]\nrunners = 2\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.toml").write_text('[log]\nlevel = "debug"\n')
    assert main(["config", "check", "--config", file]) == 0
    out, err = capsys.readouterr()
    assert out == f"configuration is valid\nread: {file}, {tmp_path}/conf.d/more.toml\n"
    assert err.startswith("meshd: warning: Redis at")


def test_absent_redis_is_a_warning_in_json_too(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written("")
    assert main(["config", "check", "--json", "--config", file]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["valid"], said["files"]) == (True, [file])
    assert "not available" in said["warnings"][0]


def test_every_mistake_is_a_line(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written('[kinds.a]\nrunnners = 2\ntimeout = "soon"\n')
    assert main(["config", "check", "--config", file]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert main(["config", "check", "--json", "--config", file]) == 78
    said = json.loads(capsys.readouterr().out)
    assert said["valid"] is False
    assert [mistake in err for mistake in said["mistakes"]] == [True, True]


def test_files_that_are_named_and_not_there_are_mistakes(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = written('[kinds.a]\nhandlers = ["./tasks.py", "app.tasks"]\npython = "venv/python"\n')
    assert main(["config", "check", "--config", file]) == 78
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"meshd: {file}: kinds.a.handlers: found no {tmp_path}/tasks.py")
    assert second.startswith(f"{file}: kinds.a.python: found no {tmp_path}/venv/python")


def test_files_that_are_there_are_not_imported(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('imported')\n")
    file = written(f'[kinds.a]\nhandlers = ["./tasks.py"]\npython = "{sys.executable}"\n')
    assert main(["config", "check", "--config", file]) == 0


def test_scaling_without_a_maximum_is_warned_of(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written("[kinds.a.autoscale]\nmin = 2\n")
    assert main(["config", "check", "--config", file]) == 0
    said = capsys.readouterr().err
    assert "kinds.a.autoscale.min has no effect without kinds.a.autoscale.max" in said
    file = written("[kinds.a.autoscale]\nmin = 2\nmax = 2\n")
    assert main(["config", "check", "--config", file]) == 0
    assert "no effect" not in capsys.readouterr().err


def test_show_prints_every_setting_with_its_origin(
    written: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MESHD_ENV", "development")
    file = written("[kinds.a]\nrunners = 2\n")
    assert main(["config", "show", "--config", file]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["kinds.a.runners", "=", "2", "#", "file", file] in lines
    assert ["environment", "=", '"development"', "#", "environment", "MESHD_ENV"] in lines
    assert ["log.level", "=", '"info"', "#", "default"] in lines


def test_show_never_prints_a_password(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "redis://:s3cret@localhost"
    for form in ((), ("--json",)):
        assert main(["config", "show", *form, "--config", written(""), "--redis-url", url]) == 0
        assert "s3cret" not in capsys.readouterr().out


def test_show_in_json_maps_keys_to_value_and_origin(
    written: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written("[kinds.a]\nrunners = 2\n")
    assert main(["config", "show", "--json", "--config", file]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kinds.a.runners"] == {"value": "2", "origin": f"file {file}"}
