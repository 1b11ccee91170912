"""What is loaded, from where, and which source has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import (
    KindSettings,
    RedisSettings,
    RetryCurve,
    Settings,
    SupervisorSettings,
    describe,
    load,
    sources,
)
from meshd.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/meshd."""
    monkeypatch.setattr(sources, "DEFAULT_FILE", tmp_path / "meshd.toml")
    return tmp_path


def write(folder: Path, text: str, name: str = "meshd.toml") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


# --- defaults -----------------------------------------------------------------------------------


def test_without_any_configuration_the_defaults_hold(folder: Path) -> None:
    settings = load(env={})
    assert settings.environment == "production"
    assert settings.worker_id is None
    assert settings.redis == RedisSettings(url="redis://localhost:6379/0", password=None)
    assert settings.redis.socket_timeout == 5
    assert settings.redis.connect_timeout == 3
    assert settings.redis.start_timeout == 60
    assert settings.worker.drain_timeout == 60
    assert settings.worker.prefetch_budget == 0.01
    assert settings.worker.max_payload == settings.worker.max_result == 2**20
    assert settings.supervisor == SupervisorSettings(status_interval=10)
    assert settings.file == folder / "meshd.toml"


def test_without_any_kind_there_are_the_two_built_in_ones(folder: Path) -> None:
    assert load(env={}).kinds == {
        "a": KindSettings(handlers=("meshd.tasks.compute", "meshd.tasks.demo")),
        "b": KindSettings(handlers=("meshd.tasks.analysis", "meshd.tasks.demo")),
    }


def test_defaults_of_a_kind(folder: Path) -> None:
    kind = load(env={}).kinds["a"]
    assert (kind.python, kind.runners, kind.timeout) == (None, 1, 300)
    assert (kind.max_attempts, kind.max_crashes) == (12, 3)
    assert (kind.result_ttl, kind.dead_ttl) == (86400, 90 * 86400)
    assert (kind.max_length, kind.max_memory, kind.max_tasks) == (None, None, None)
    assert kind.retry == RetryCurve(delays=None, cap=None)


def test_built_in_kind_without_handlers_keeps_its_own(folder: Path) -> None:
    write(folder, "[kinds.a]\ntimeout = 7")
    settings = load(env={})
    assert set(settings.kinds) == {"a"}
    assert settings.kinds["a"].handlers == ("meshd.tasks.compute", "meshd.tasks.demo")
    assert settings.kinds["a"].timeout == 7
    assert settings.origins["kinds.a.handlers"] == "default"


def test_empty_table_names_a_kind(folder: Path) -> None:
    write(folder, "[kinds.b]\n[redis]\n")
    assert set(load(env={}).kinds) == {"b"}


def test_settings_cannot_be_changed(folder: Path) -> None:
    settings = load(env={})
    with pytest.raises(AttributeError):
        settings.redis.url = "redis://elsewhere"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.kinds["c"] = settings.kinds["a"]  # type: ignore[index]


# --- files --------------------------------------------------------------------------------------


def test_every_form_of_value_is_read_from_a_file(folder: Path) -> None:
    write(
        folder,
        """
        environment = "development"
        [log]
        format = "JSON"
        level = "Debug"
        [worker]
        drain_timeout = "1min 30s"
        max_result = "10M"
        max_payload = 2048
        [kinds.video]
        handlers = ["app.tasks", "encode.py", "./more", "/srv/tasks"]
        python = "venv/bin/python"
        runners = 4
        timeout = 2.5
        retry_delays = ["10s", "1min", 300]
        retry_cap = "2min"
        max_length = 1000
        max_memory = "512M"
        max_tasks = 50
        """,
    )
    settings = load(env={})
    assert settings.environment == "development"
    assert (settings.log.format, settings.log.level) == ("json", "debug")
    assert settings.worker.drain_timeout == 90
    assert (settings.worker.max_result, settings.worker.max_payload) == (10 * 2**20, 2048)
    assert settings.kinds["video"] == KindSettings(
        handlers=("app.tasks", f"{folder}/encode.py", f"{folder}/more", "/srv/tasks"),
        python=folder / "venv/bin/python",
        runners=4,
        timeout=2.5,
        retry=RetryCurve(delays=(10, 60, 300), cap=120),
        max_length=1000,
        max_memory=512 * 2**20,
        max_tasks=50,
    )


def test_conf_d_is_read_in_order_and_merged_key_by_key(folder: Path) -> None:
    main = write(folder, "[kinds.a]\ntimeout = 1\nrunners = 2\nmax_tasks = 3")
    write(folder, "[kinds.a]\ntimeout = 20\nrunners = 20", "conf.d/20.toml")
    write(folder, "[kinds.a]\ntimeout = 10\nmax_crashes = 0", "conf.d/10.toml")
    settings = load(env={})
    kind = settings.kinds["a"]
    assert (kind.timeout, kind.runners, kind.max_tasks, kind.max_crashes) == (20, 20, 3, 0)
    assert settings.origins["kinds.a.timeout"] == f"file {folder}/conf.d/20.toml"
    assert settings.origins["kinds.a.max_crashes"] == f"file {folder}/conf.d/10.toml"
    assert settings.origins["kinds.a.max_tasks"] == f"file {main}"


def test_conf_d_counts_without_the_main_file_too(folder: Path) -> None:
    write(folder, "[log]\nlevel = 'error'", "conf.d/log.toml")
    assert load(env={}).log.level == "error"


@pytest.mark.parametrize("name", [".hidden.toml", "old.toml~", "toml", "notes.txt"])
def test_conf_d_leaves_other_files_alone(folder: Path, name: str) -> None:
    write(folder, "this is not TOML", f"conf.d/{name}")
    assert load(env={}).log.level == "info"


def test_relative_paths_start_from_the_file_that_names_them(folder: Path) -> None:
    write(folder, "[kinds.a]\nhandlers = ['x.py']")
    write(folder, "[kinds.b]\nhandlers = ['x.py']\npython = 'bin/python'", "conf.d/b.toml")
    kinds = load(env={}).kinds
    assert kinds["a"].handlers == (f"{folder}/x.py",)
    assert kinds["b"].handlers == (f"{folder}/conf.d/x.py",)
    assert kinds["b"].python == folder / "conf.d/bin/python"


def test_interpreter_of_a_virtual_environment_is_not_resolved_to_the_real_one(folder: Path) -> None:
    (folder / "python").symlink_to("/usr/bin/python3")
    write(folder, "[kinds.a]\npython = 'python'")
    assert load(env={}).kinds["a"].python == folder / "python"


def test_named_file_replaces_the_default_one(folder: Path) -> None:
    write(folder, "[log]\nlevel = 'error'")
    other = write(folder, "[log]\nformat = 'text'", "other/meshd.toml")
    for settings in (load(other, {}), load(env={"MESHD_CONFIG": str(other)})):
        assert (settings.log.format, settings.log.level) == ("text", "info")
        assert settings.file == other


def test_config_flag_is_stronger_than_the_environment(folder: Path) -> None:
    flagged = write(folder, "[log]\nlevel = 'debug'", "flagged.toml")
    named = write(folder, "[log]\nlevel = 'error'", "named.toml")
    assert load(flagged, {"MESHD_CONFIG": str(named)}).log.level == "debug"


# --- environment and flags ----------------------------------------------------------------------


def test_environment_of_the_original_is_heeded(folder: Path) -> None:
    env = {"REDIS_HOST": "db", "REDIS_PORT": "6380", "WORKER_ID": "w7", "MESHD_ENV": "development"}
    settings = load(env=env)
    assert settings.redis.url == "redis://db:6380/0"
    assert settings.worker_id == "w7"
    assert settings.environment == "development"
    assert settings.origins["redis.url"] == "environment REDIS_HOST, REDIS_PORT"
    assert settings.origins["worker_id"] == "environment WORKER_ID"
    assert settings.origins["environment"] == "environment MESHD_ENV"


def test_empty_variables_say_nothing(folder: Path) -> None:
    env = dict.fromkeys(["REDIS_HOST", "REDIS_URL", "WORKER_ID", "MESHD_ENV", "MESHD_CONFIG"], "")
    assert load(env=env).redis.url == "redis://localhost:6379/0"


def test_environment_is_that_of_the_process_unless_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_ID", "from-the-process")
    assert load().worker_id == "from-the-process"


def test_later_sources_win(folder: Path) -> None:
    write(folder, "environment = 'production'\n[redis]\nurl = 'redis://file'")
    env = {"MESHD_ENV": "development", "REDIS_URL": "redis://variable", "REDIS_HOST": "host"}
    assert load(env={}).redis.url == "redis://file"
    assert load(env=env).redis.url == "redis://host:6379"
    settings = load(env=env, flags={"redis.url": "redis://flag", "environment": "production"})
    assert settings.redis.url == "redis://flag"
    assert settings.environment == "production"
    assert settings.origins["redis.url"] == "flag --redis-url"


def test_flags_are_text_in_the_form_of_their_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    flags = {
        "kinds.a.handlers": "mine.py, app.tasks",
        "kinds.a.runners": "3",
        "kinds.a.timeout": "5",
        "kinds.a.retry_delays": "1s,2s",
        "worker.max_result": "10M",
    }
    settings = load(env={}, flags=flags)
    kind = settings.kinds["a"]
    assert kind.handlers == (f"{folder}/mine.py", "app.tasks")
    assert (kind.runners, kind.timeout, kind.retry.delays) == (3, 5, (1, 2))
    assert settings.worker.max_result == 10 * 2**20
    assert settings.origins["worker.max_result"] == "flag --worker-max-result"


@pytest.mark.parametrize(
    ("environment", "form", "resolved"),
    [
        ("production", "auto", "json"),
        ("development", "auto", "text"),
        ("production", "text", "text"),
        ("development", "json", "json"),
    ],
)
def test_log_format_follows_the_environment_unless_set(
    folder: Path, environment: str, form: str, resolved: str
) -> None:
    settings = load(env={"MESHD_ENV": environment}, flags={"log.format": form})
    assert settings.log_format == resolved


# --- directories --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "env", "runtime", "state"),
    [
        (0, {}, "/run/meshd", "/var/lib/meshd"),
        (0, {"XDG_STATE_HOME": "/root/state"}, "/run/meshd", "/var/lib/meshd"),
        (7, {"HOME": "/home/u"}, "/tmp/meshd-7", "/home/u/.local/state/meshd"),
        (
            7,
            {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/home/u/state"},
            "/run/user/7/meshd",
            "/home/u/state/meshd",
        ),
        (
            7,
            {"HOME": "/home/u", "XDG_RUNTIME_DIR": "relative", "XDG_STATE_HOME": "relative"},
            "/tmp/meshd-7",
            "/home/u/.local/state/meshd",
        ),
        (
            7,
            {
                "RUNTIME_DIRECTORY": "/run/meshd/worker/a1:/run/other",
                "STATE_DIRECTORY": "/var/lib/meshd",
                "XDG_RUNTIME_DIR": "/run/user/7",
                "XDG_STATE_HOME": "/home/u/state",
            },
            "/run/meshd/worker/a1",
            "/var/lib/meshd",
        ),
    ],
)
def test_directories_are_those_of_systemd_or_of_the_user(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    env: dict[str, str],
    runtime: str,
    state: str,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    worker = load(env=env).worker
    assert (str(worker.runtime_directory), str(worker.state_directory)) == (runtime, state)


def test_directory_in_a_file_is_stronger_than_that_of_systemd(folder: Path) -> None:
    write(folder, "[worker]\nruntime_directory = '/srv/run'")
    env = {"RUNTIME_DIRECTORY": "/run/meshd", "STATE_DIRECTORY": "/var/lib/meshd"}
    settings = load(env=env)
    assert settings.worker.runtime_directory == Path("/srv/run")
    assert settings.origins["worker.state_directory"] == "environment STATE_DIRECTORY"


# --- describe -----------------------------------------------------------------------------------


def rows(settings: Settings) -> dict[str, tuple[str, str]]:
    return {key: (value, origin) for key, value, origin in describe(settings)}


def test_describe_shows_every_value_as_toml_writes_it_and_its_origin(folder: Path) -> None:
    main = write(folder, "[kinds.c]\nhandlers = ['x']\nretry_delays = [1, '1min']\nretry_cap = 60")
    shown = rows(load(env={"REDIS_HOST": "db"}))
    assert shown["environment"] == ('"production"', "default")
    assert shown["redis.url"] == ('"redis://db:6379/0"', "environment REDIS_HOST")
    assert shown["redis.password"] == ("none", "default")
    assert shown["worker.prefetch_budget"] == ('"10ms"', "default")
    assert shown["worker.max_payload"] == ('"1M"', "default")
    assert shown["kinds.c.handlers"] == ('["x"]', f"file {main}")
    assert shown["kinds.c.retry_delays"] == ('["1s", "1min"]', f"file {main}")
    assert shown["kinds.c.runners"] == ("1", "default")
    assert shown["kinds.c.max_memory"] == ("none", "default")


def test_what_describe_shows_is_a_configuration_with_the_same_effect(folder: Path) -> None:
    write(folder, "[kinds.c]\nhandlers = ['x.py']\nretry_delays = [1, 90]\nmax_memory = '1G'")
    settings = load(env={"MESHD_ENV": "development"})
    again = folder / "again.toml"
    again.write_text(
        "\n".join(f"{key} = {value}" for key, value, _ in describe(settings) if value != "none")
    )
    reread = load(again, {})
    assert [row[:2] for row in describe(reread)] == [row[:2] for row in describe(settings)]


def test_origins_has_every_key_that_describe_shows(folder: Path) -> None:
    settings = load(env={})
    assert [row[0] for row in describe(settings)] == list(settings.origins)


def test_missing_named_file_is_an_error(folder: Path) -> None:
    missing = folder / "missing.toml"
    with pytest.raises(ConfigError, match="expected the configuration that --config names"):
        load(missing, {})
    with pytest.raises(ConfigError, match=f"^{missing}: .* correct MESHD_CONFIG$"):
        load(env={"MESHD_CONFIG": str(missing)})
