"""What an app of PM2 becomes: supervisor, kinds, files, and what is left with its reason."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meshd.errors import ConfigError
from meshd.pm2 import Host, apps_in, parsed, plan
from meshd.pm2.options import OPTIONS
from tests.support.pm2 import SOURCE, planned, put, settings_in, text_of, wanted_by, why

TEMPLATE = Path(__file__).parents[2] / "packaging/systemd/meshd-worker@.service"
REDIS = {"REDIS_HOST": "localhost", "REDIS_PORT": 6379}
# What the README of the system that meshd replaces describes: one supervisor, four workers.
SEED: list[dict[str, Any]] = [
    {
        "name": "supervisor", "script": "./supervisor/supervisor.js", "instances": 1,
        "autorestart": True, "watch": False, "max_memory_restart": "500M",
        "env": {"NODE_ENV": "production", **REDIS},
    },
    {
        "name": "worker_a", "script": "./workers/worker_a.py", "interpreter": "python3",
        "instances": 2, "autorestart": True, "watch": False, "max_memory_restart": "300M",
        "env": {"WORKER_ID": "worker_a", **REDIS},
    },
    {
        "name": "worker_b", "script": "./workers/worker_b.py", "interpreter": "python3",
        "instances": 2, "autorestart": True, "watch": False, "max_memory_restart": "300M",
        "env": {"WORKER_ID": "worker_b", **REDIS},
    },
]  # fmt: skip
MAILER = {"name": "Mailer-2", "script": "jobs/mailer.py", "interpreter": "./venv/bin/python"}


def worker(**options: Any) -> dict[str, Any]:
    return {"name": "worker_a", "script": "worker_a.py", **options}


def test_system_that_meshd_replaces_is_recognised(tmp_path: Path) -> None:
    made = planned(*SEED)
    assert made.became == (
        ("supervisor", "meshd.service", 1),
        ("worker_a", "a", 2),
        ("worker_b", "b", 2),
    )
    folder = put(made, tmp_path / "etc")
    assert wanted_by(folder) == ({"a1", "a2", "b1", "b2"}, "")
    settings = settings_in(folder)
    assert settings.redis.url == "redis://localhost:6379/0"
    assert set(settings.kinds) == {"a", "b"}
    assert settings.kinds["a"].handlers == ("meshd.tasks.compute", "meshd.tasks.demo")
    assert settings.kinds["a"].max_memory == 300 * 2**20
    # A heartbeat of kind a has worker_a_PID by itself, as the original's had.
    assert not [file.path for file in made.files if file.path.startswith("env/")]
    assert {left.option for left in made.left} == {"script", "max_memory_restart"}


def test_any_other_app_is_a_kind_called_by_its_letters(tmp_path: Path) -> None:
    made = planned(MAILER)
    assert made.became == (("Mailer-2", "mailer", 1),)
    kind = settings_in(put(made, tmp_path / "etc")).kinds["mailer"]
    assert kind.handlers == ("/srv/app/jobs/mailer_tasks.py",)
    assert kind.python == Path("/srv/app/venv/bin/python")
    assert "write them into /srv/app/jobs/mailer_tasks.py" in why(made, "script")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mail", "mail"), ("Über mail!", "ubermail"), ("123", "app"), ("日本", "app"), (7, "app"),
     ("all", "allb"), ("inbox", "inboxb"), ("x" * 300, "x" * 32), ("worker_a", "workera"),
     ("worker", "worker")],
)  # fmt: skip
def test_name_of_a_kind_has_the_letters_a_to_z_alone(name: object, kind: str) -> None:
    [became] = planned({"name": name, "script": "server.js"}).became
    assert became.becomes == kind


@pytest.mark.parametrize("name", ["worker_a", "worker-a", "worker_a_1", "WORKER_A2"])
def test_python_worker_of_that_name_keeps_its_queue(name: str) -> None:
    assert planned({"name": name, "script": "run.py"}).became[0].becomes == "a"


def test_worker_id_says_more_than_the_name() -> None:
    app = {"name": "crunch", "script": "run.py", "env": {"WORKER_ID": "worker_b"}}
    assert planned(app).became == (("crunch", "b", 1),)


def test_kinds_that_would_be_called_alike_are_told_apart() -> None:
    made = planned(*({"name": f"mail-{at}", "script": "m.py"} for at in range(28)))
    names = [became.becomes for became in made.became]
    assert names[:3] == ["mail", "mailb", "mailc"]
    assert names[26:] == ["mailba", "mailbb"]


def test_apps_of_one_kind_are_one_kind_and_keep_their_own_environment() -> None:
    made = planned(
        worker(name="worker_a_1", env={"SHARD": "left", "LEVEL": 3}, max_memory_restart="1G"),
        worker(name="worker_a_2", env={"SHARD": "right", "LEVEL": 3}),
    )
    assert made.became == (("worker_a_1, worker_a_2", "a", 2),)
    assert text_of(made, "env/a.env") == "LEVEL=3\n"
    assert text_of(made, "env/a1.env") == "SHARD=left\n"
    assert text_of(made, "env/a2.env") == "SHARD=right\n"
    assert "alike" in why(made, "max_memory_restart")


@pytest.mark.parametrize(
    ("instances", "workers"),
    [(1, 1), (3, 3), ("3", 3), (2.0, 2), ("max", 4), (0, 4), (-1, 3), (-9, 1), (1000, 1000)],
)
def test_instances_are_counted_as_pm2_counts_them(instances: object, workers: int) -> None:
    made = planned(worker(instances=instances), host=Host(processors=4))
    assert made.became[0].workers == workers


def test_counted_variable_is_in_the_environment_of_each_instance() -> None:
    made = planned(worker(instances=3, increment_var="PORT", env={"PORT": 3000, "X": "y"}))
    assert text_of(made, "env/a.env") == "X=y\n"
    assert [text_of(made, f"env/a{at}.env") for at in (1, 2, 3)] == [
        "PORT=3000\n", "PORT=3001\n", "PORT=3002\n"
    ]  # fmt: skip


def test_worker_that_is_added_later_has_the_environment_of_its_kind() -> None:
    drop_in = text_of(planned(worker(env={"X": "y"})), "worker-a.conf")
    files = re.findall(r"^EnvironmentFile=(.*)$", drop_in, re.MULTILINE)
    assert files == [
        "", "-/etc/meshd/meshd.env", "-/etc/meshd/env/a.env", "-/etc/meshd/env/%i.env"
    ]  # fmt: skip


def test_limits_are_in_the_drop_in_of_the_kind() -> None:
    made = planned(worker(max_memory_restart="300M", restart_delay=4500, cwd="/home/joe/100%/app"))
    lines = text_of(made, "worker-a.conf").splitlines()
    assert {
        "MemoryMax=600M", "RestartSec=4s 500ms", "WorkingDirectory=-/home/joe/100%%/app",
        "ProtectHome=read-only",
    } <= set(lines)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "size"), [("1G", 2**30), (314572800, 300 * 2**20), ("2M", 2**21)]
)
def test_memory_is_read_as_pm2_reads_it(written: object, size: int, tmp_path: Path) -> None:
    made = planned(worker(max_memory_restart=written))
    assert settings_in(put(made, tmp_path / "etc")).kinds["a"].max_memory == size


def test_longest_kill_timeout_is_the_time_that_a_drain_may_take(tmp_path: Path) -> None:
    made = planned(worker(kill_timeout=1600), {**MAILER, "kill_timeout": "90000"})
    assert settings_in(put(made, tmp_path / "etc")).worker.drain_timeout == 90


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line_of_a_drop_in(tmp_path: Path) -> None:
    made = planned(
        worker(max_memory_restart="300M", restart_delay=4500, cwd='/home/joe/50%/my "app"\\')
    )
    unit = tmp_path / "meshd-worker@a1.service"
    shutil.copy(TEMPLATE, unit)
    drop_in = tmp_path / "meshd-worker@a1.service.d/50-kind.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(text_of(made, "worker-a.conf"))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, timeout=50,
    )  # fmt: skip
    assert "50-kind.conf" not in told.stderr


@pytest.mark.parametrize("option", sorted(name for name in OPTIONS if OPTIONS[name].why))
def test_option_without_an_equivalent_is_listed_with_a_reason(option: str) -> None:
    usual = OPTIONS[option].usual
    tries: tuple[Any, ...] = (7, "odd", True, False, ["odd"], {"odd": 1})
    value = next(v for v in tries if v not in usual and OPTIONS[option].takes.fits(v))
    assert len(why(planned(worker(**{option: value})), option)) > 10


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_usual_value_of_an_option_is_not_worth_a_word(option: str) -> None:
    for value in OPTIONS[option].usual:
        assert {left.option for left in planned(worker(**{option: value})).left} == {"script"}


def test_spelling_in_one_word_and_other_names_mean_the_same() -> None:
    made = planned(worker(maxMemoryRestart="300M", cron="0 3 * * *", out="x.log", user="joe"))
    assert {left.option for left in made.left} == {"script", "cron_restart", "out_file", "uid"}
    assert "max_memory" in text_of(made, "conf.d/pm2.toml")


def test_option_that_pm2_does_not_know_is_listed() -> None:
    assert why(planned(worker(max_memmory="1G")), "max_memmory") == "PM2 has no such option"


def test_program_in_another_language_is_said_to_be_a_service_of_its_own() -> None:
    made = planned({"name": "api", "script": "server.js", "exec_mode": "cluster"})
    assert "unit of its own" in why(made, "interpreter")
    assert "no socket" in why(made, "exec_mode")


def test_python_that_is_named_without_its_path_is_asked_for() -> None:
    assert "full path" in why(planned(worker(interpreter="python3.9")), "interpreter")


def test_settings_of_the_supervisor_are_left_to_its_unit() -> None:
    made = planned({**SEED[0], "instances": 2, "env": {"NODE_ENV": "development", "X": "y"}})
    assert "systemctl edit" in why(made, "max_memory_restart")
    assert "MESHD_ENV=development" in why(made, "env.NODE_ENV")
    assert "X" in why(made, "env")
    assert [file.path for file in made.files] == ["conf.d/pm2.toml"]


@pytest.mark.parametrize(
    "value",
    [[SEED[1]], {"apps": [SEED[1]]}, {"apps": SEED[1]}, {"name": "x", "pm2": [SEED[1]]},
     {"name": "x", "pm2": SEED[1]}, SEED[1]],
)  # fmt: skip
def test_apps_are_found_in_every_form_that_pm2_takes(value: object) -> None:
    assert [app.name for app in apps_in(value, SOURCE)] == ["worker_a"]


MISTAKES = [
    ("", "expected JSON: Expecting value in line 1 column 1"),
    ("module.exports = {}", "node -p"),
    ("{'apps': []}", "expected JSON"),
    ("[NaN]", "NaN is no number"),
    ("[1e999]", "[0]: found inf"),
    ("[" * 100_000, "expected JSON"),
    ("[" * 100 + "]" * 100, "nested deeper than 64"),
    ('["\\ud800"]', "half a character"),
    ("9" * 5000, "expected JSON"),
    ("[]", "apps: found an empty list, expected a list of apps"),
    ("{}", "apps: found nothing, expected a list of apps"),
    ("null", "apps: found null"),
    ('{"apps": 7}', "apps: found 7"),
    ('{"apps": []}', "apps: found an empty list"),
    ('{"apps": [7]}', "apps[0]: found 7, expected an app"),
    ('{"apps": [{}]}', "apps[0].script: found nothing"),
    ('{"apps": [{"script": 7}]}', "apps[0].script: found 7, expected text"),
    ('[{"script": "a\\nb"}]', "[0].script: found"),
    (
        '[{"script": "x", "kill_timeout": "soon"}]',
        '[0].kill_timeout: found "soon", expected a number',
    ),
    ('[{"script": "x", "kill_timeout": -1}]', "kill_timeout: found -1, expected milliseconds"),
    ('[{"script": "x", "kill_timeout": 1e300}]', "kill_timeout: found 1e+300, expected milli"),
    ('[{"script": "x", "instances": "many"}]', 'instances: found "many", expected a whole'),
    ('[{"script": "x", "instances": 1.5}]', "instances: found 1.5, expected a whole number"),
    ('[{"script": "x", "instances": 1001}]', "instances: found 1001, expected at most 1000"),
    ('[{"script": "x", "instances": 999}, {"script": "y", "instances": 2}]', "1001 in all"),
    ('[{"script": "x", "max_memory_restart": "lots"}]', 'found "lots", expected a size'),
    (
        '[{"script": "x", "max_memory_restart": 1024}]',
        "found 1024, expected a size of at least",
    ),
    ('[{"script": "x", "env": "A=b"}]', "[0].env: found"),
    ('[{"script": "x", "env_production": 1}]', "env_production: found 1, expected a table"),
    (
        '[{"script": "x", "autorestart": "no"}]',
        'autorestart: found "no", expected true or false',
    ),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_mistake_is_one_line_that_names_file_and_key(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(apps_in(parsed(text.encode(), "ecosystem.json"), SOURCE), Host(4))
    [line] = str(caught.value).splitlines()
    assert line.startswith("ecosystem.json: ")
    assert told in line
    assert len(line) < 500
