"""`meshd import-pm2`: what it prints, what it writes, and that nothing in a file is a traceback."""

from __future__ import annotations

import json
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from meshd.cli import javascript, main
from meshd.errors import ConfigError
from meshd.pm2 import Host, apps_in, parsed, plan
from meshd.pm2.options import OPTIONS
from tests.support.pm2 import SOURCE, put, settings_in, wanted_by
from tests.support.wait import wait_until

APP = {
    "name": "worker_a", "script": "worker_a.py", "instances": 2, "watch": True,
    "env": {"API_KEY": "k3y", "REDIS_PASSWORD": "s3cret", "LEVEL": "info"},
}  # fmt: skip
WRITTEN = {
    "workers.conf": 0o644, "conf.d/pm2.toml": 0o644, "worker-a.conf": 0o644, "env/a.env": 0o600,
    "credentials.d/redis-password": 0o600,
}  # fmt: skip
needs_node = pytest.mark.skipif(
    not (shutil.which("node") or shutil.which("nodejs")), reason="needs node (apt install nodejs)"
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Done:
        try:
            code = main(["import-pm2", *map(str, arguments)])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def ecosystem(tmp_path: Path) -> Path:
    file = tmp_path / "ecosystem.json"
    file.write_text(json.dumps({"apps": [APP]}))
    return file


def test_plan_is_printed_and_nothing_is_written(run: Run, ecosystem: Path) -> None:
    done = run(ecosystem)
    assert (done.code, done.err) == (0, "")
    assert "worker_a: kind a, 2 of it" in done.out
    assert "--- /etc/meshd/env/a.env (0600)\nAPI_KEY=***\nLEVEL=info\n" in done.out
    assert "  worker_a: watch: " in done.out
    assert "env/a.env: API_KEY" in done.out
    assert "systemctl daemon-reload" in done.out
    assert list(ecosystem.parent.iterdir()) == [ecosystem]


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("write", [False, True])
def test_no_secret_is_ever_printed(
    run: Run, ecosystem: Path, form: tuple[str, ...], *, write: bool
) -> None:
    done = run(ecosystem, *form, *(["--write", ecosystem.parent / "etc"] if write else []))
    assert done.code == 0
    assert "k3y" not in done.out
    assert "s3cret" not in done.out


def test_plan_in_json(run: Run, ecosystem: Path) -> None:
    said = json.loads(run(ecosystem, "--json").out)
    assert said["apps"] == [{"app": "worker_a", "becomes": "a", "workers": 2}]
    assert {file["path"]: int(file["mode"], 8) for file in said["files"]} == WRITTEN
    assert said["secrets"]["env/a.env"] == ["API_KEY"]
    assert {left["option"] for left in said["left"]} == {"script", "watch"}
    assert said["written"] is None


def test_files_are_written_with_their_modes(run: Run, ecosystem: Path) -> None:
    etc = ecosystem.parent / "etc"
    done = run(ecosystem, "--write", etc)
    assert (done.code, done.err) == (0, "")
    found = {
        str(path.relative_to(etc)): stat.S_IMODE(path.stat().st_mode)
        for path in etc.rglob("*") if path.is_file()
    }  # fmt: skip
    assert found == WRITTEN
    assert stat.S_IMODE((etc / "credentials.d").stat().st_mode) == 0o700
    assert (etc / "env/a.env").read_text() == "API_KEY=k3y\nLEVEL=info\n"
    assert settings_in(etc).redis.password == "s3cret"
    assert wanted_by(etc) == ({"a1", "a2"}, "")


def test_second_time_changes_nothing_and_tightens_modes(run: Run, ecosystem: Path) -> None:
    etc = ecosystem.parent / "etc"
    run(ecosystem, "--write", etc)
    (etc / "env/a.env").chmod(0o666)
    assert run(ecosystem, "--write", etc).code == 0
    assert stat.S_IMODE((etc / "env/a.env").stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["workers.conf", "credentials.d/redis-password"])
def test_file_that_is_in_the_way_is_kept_and_nothing_is_written(
    run: Run, ecosystem: Path, path: str
) -> None:
    etc = ecosystem.parent / "etc"
    (etc / path).parent.mkdir(parents=True)
    (etc / path).write_text("mine")
    done = run(ecosystem, "--write", etc)
    assert (done.code, done.out) == (1, "")
    assert f"{etc / path}; nothing was written; --force" in done.err
    assert [file for file in etc.rglob("*") if file.is_file()] == [etc / path]
    assert run(ecosystem, "--write", etc, "--force").code == 0
    assert (etc / path).read_text() != "mine"


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_link_is_not_followed(run: Run, ecosystem: Path, force: tuple[str, ...]) -> None:
    etc, elsewhere = ecosystem.parent / "etc", ecosystem.parent / "elsewhere"
    elsewhere.write_text("mine")
    etc.mkdir()
    (etc / "workers.conf").symlink_to(elsewhere)
    assert run(ecosystem, "--write", etc, *force).code == (0 if force else 1)
    assert elsewhere.read_text() == "mine"


def test_folder_that_cannot_be_written_is_one_line(run: Run, ecosystem: Path) -> None:
    (ecosystem.parent / "etc").write_text("in the way")
    done = run(ecosystem, "--write", ecosystem.parent / "etc")
    assert done.code == 1
    [line] = done.err.splitlines()
    assert "Not a directory" in line or "File exists" in line


@pytest.mark.parametrize("name", ["", "nothing.json", "odd\nname.json"])
def test_file_that_cannot_be_read_is_exit_code_78(run: Run, tmp_path: Path, name: str) -> None:
    if "\n" in name:
        (tmp_path / name).write_text("[]")
    done = run(tmp_path / name)
    assert (done.code, done.out) == (78, "")
    assert "expected" in done.err
    assert "Traceback" not in done.err


def test_help_teaches(run: Run) -> None:
    out = run("--help").out
    assert "examples:\n  meshd import-pm2 ecosystem.config.js" in out
    assert "exit codes:" in out
    assert "JSON.stringify(require(" in out


# --- JavaScript ---------------------------------------------------------------------------------


@needs_node
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ecosystem.config.js", "console.log('noise'); module.exports = {apps: %s}"),
        ("ecosystem.config.cjs", "setInterval(() => {}, 1000); module.exports = {apps: %s}"),
        ("ecosystem.config.mjs", "export default {apps: %s, deploy: {run: () => 1}}"),
    ],
)
def test_javascript_is_evaluated_by_node(run: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text % json.dumps([APP]))
    said = json.loads(run(tmp_path / name, "--json").out)
    assert said["apps"] == [{"app": "worker_a", "becomes": "a", "workers": 2}]


@needs_node
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("module.exports = {apps: [", "node cannot evaluate it: SyntaxError"),
        ("throw new Error('no luck\\nat all')", "node cannot evaluate it: Error: no luck; correct"),
        ("process.exit(3)", "node ended with 3"),
        ("module.exports = () => 1", "apps: found null"),
        ("const a = {}; a.a = a; module.exports = a", "circular"),
        ("module.exports = {apps: 10n}", "BigInt"),
    ],
)
def test_javascript_that_cannot_be_evaluated_is_one_line(
    run: Run, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "ecosystem.config.js").write_text(text)
    done = run(tmp_path / "ecosystem.config.js")
    assert (done.code, done.out) == (78, "")
    [line] = done.err.splitlines()
    assert told in line


@needs_node
def test_javascript_that_never_ends_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(javascript, "_LIMIT_SECONDS", 1.0)
    pid = tmp_path / "pid"
    file = tmp_path / "ecosystem.config.js"
    file.write_text(
        "const child = require('child_process').spawn('sleep', ['1000'])\n"
        f"require('fs').writeFileSync({str(pid)!r}, String(child.pid))\n"
        "for (;;);\n"
    )
    with pytest.raises(ConfigError, match="has not evaluated it within 1 s"):
        javascript.evaluated(file)
    wait_until(lambda: not runs(pid.read_text()), timeout=10, what="the end of sleep")


def runs(pid: str) -> bool:
    """Whether a process is there, and no zombie that somebody else has to reap."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_javascript_without_node_is_an_error_that_says_how_to_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "ecosystem.config.js").write_text("module.exports = {}")
    done = run(tmp_path / "ecosystem.config.js")
    assert done.code == 78
    assert "node -p 'JSON.stringify(require(\"./ecosystem.config.js\"))' > eco" in done.err


# --- anything -----------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["max", "300M", "1G", "cluster", "python3", "worker_a", "5000", "~/x", "%i"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=4
)
NAMES = st.text(max_size=8) | st.sampled_from(
    ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "WORKER_ID", "NODE_ENV", "API_KEY"]
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=4)
KEYS = st.sampled_from(["script", "env", "env_test", "pm_exec_path", *OPTIONS]) | st.text()
ODD_APPS = st.builds(
    lambda odd, right: odd | right,
    st.dictionaries(KEYS, VALUES | TABLES, max_size=5),
    st.fixed_dictionaries({}, optional={"script": st.text(min_size=1), "env": TABLES}),
)
# Of the right types, so that most of them become files.
PLAUSIBLE = st.fixed_dictionaries(
    {"script": st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1)},
    optional={
        "name": st.text(max_size=12) | st.sampled_from(["worker_a", "worker-b_2", "supervisor"]),
        "pm_exec_path": st.just("/srv/x.py"),
        "cwd": st.sampled_from(["/home/x", "..", "50% \\", "."]) | st.text(max_size=5),
        "interpreter": st.sampled_from(["python3", "./venv/bin/python", "node", "/opt/pypy3"]),
        "instances": st.integers(-2, 5) | st.just("max"),
        "max_memory_restart": st.sampled_from(["300M", "1G", 2**30]),
        "kill_timeout": st.integers(0, 10**9) | st.floats(0, 1e9),
        "restart_delay": st.integers(0, 10**9),
        "increment_var": NAMES,
        "env": st.dictionaries(NAMES, SCALARS, max_size=4),
        "env_test": TABLES,
        "uid": st.integers(), "watch": st.booleans(), "cron_restart": st.text(),
    },
)  # fmt: skip
ANYTHING = VALUES | st.lists(ODD_APPS, max_size=3) | st.lists(PLAUSIBLE, min_size=1, max_size=3)
no_fixture_is_reset = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@no_fixture_is_reset
@given(value=ANYTHING | st.builds(lambda apps: {"apps": apps}, ANYTHING))
def test_no_json_is_a_traceback(
    value: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ecosystem.json"
    file.write_text(json.dumps(value))
    code = main(["import-pm2", str(file), "--write", str(tmp_path / "etc"), "--force"])
    told = capfd.readouterr().err
    assert code in (0, 78)
    assert (code == 78) == told.startswith(f"meshd: {file}: ")
    assert len(told.splitlines()) <= 1


@no_fixture_is_reset
@given(apps=st.lists(PLAUSIBLE, min_size=1, max_size=3))
def test_what_comes_of_any_app_is_accepted_by_those_who_read_it(apps: list[Any]) -> None:
    try:
        read = apps_in(parsed(json.dumps(apps).encode(), "x.json"), SOURCE)
        made = plan(read, Host(2))
    except ConfigError:
        return
    with tempfile.TemporaryDirectory() as folder:
        etc = put(made, Path(folder, "etc"))
        kinds = {became.becomes for became in made.became} - {"meshd.service"}
        assert all(kind.isascii() and kind.isalpha() and kind.islower() for kind in kinds)
        if kinds:
            assert set(settings_in(etc).kinds) == kinds
        for line in (
            line for path in etc.glob("worker-*.conf") for line in path.read_text().split("\n")
        ):
            assert line.startswith(("#", "[Service]")) or "=" in line or not line


@no_fixture_is_reset
@given(blob=st.binary(max_size=200))
def test_no_bytes_are_a_traceback(
    blob: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dump.pm2"
    file.write_bytes(blob)
    assert main(["import-pm2", str(file)]) == 78
    assert capfd.readouterr().err.startswith(f"meshd: {file}: ")


@pytest.mark.parametrize("module", ["redis", "meshd.broker", "meshd.worker"])
def test_command_loads_neither_redis_nor_a_daemon(module: str) -> None:
    # It answers at once, and where no library for Redis is.
    javascript._run([sys.executable, "-c", "pass"])
    code = f"import sys, meshd.cli.import_pm2; sys.exit({module!r} in sys.modules)"
    assert javascript._run([sys.executable, "-c", code]) == 0
