"""Variables of PM2's apps: secrets, the address of Redis, and what a dump has from a login."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from meshd.errors import ConfigError
from meshd.pm2 import Host, apps_in, plan
from meshd.pm2.environment import environment_file
from tests.support.pm2 import SOURCE, planned, put, settings_in, text_of, why

PARSER = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")


def app(**env: Any) -> dict[str, Any]:
    return {"name": "worker_a", "script": "worker_a.py", "env": env}


def of_a_dump(at: int = 0, **env: Any) -> dict[str, Any]:
    """A process as dump.pm2 has it: every variable stands beside the options, too."""
    env = {"HOME": "/root", "PATH": "/bin", "unique_id": f"x{at}", "worker_a": "{}", **env}
    return {
        **env, "name": "worker_a", "pm_exec_path": "/srv/app/worker_a.py", "pm_cwd": "/srv/app",
        "exec_interpreter": "python3", "exec_mode": "fork_mode", "NODE_APP_INSTANCE": at,
        "instance_var": "NODE_APP_INSTANCE", "pm_out_log_path": "/root/.pm2/logs/out.log",
        "status": "online", "axm_monitor": {}, "created_at": 1795531666475, "username": "root",
        "treekill": True, "autorestart": True, "node_args": [], "namespace": "default", "env": env,
    }  # fmt: skip


def test_secrets_are_in_a_file_for_root_alone_and_are_never_shown() -> None:
    made = planned(app(API_KEY="k3y", DB_PASSWORD="pw", STRIPE_TOKEN="t0k", LEVEL="info"))
    [file] = [each for each in made.files if each.path == "env/a.env"]
    assert file.mode == 0o600
    assert file.secrets == ("API_KEY", "DB_PASSWORD", "STRIPE_TOKEN")
    assert file.text == "API_KEY=k3y\nDB_PASSWORD=pw\nLEVEL=info\nSTRIPE_TOKEN=t0k\n"
    assert file.shown == "API_KEY=***\nDB_PASSWORD=***\nLEVEL=info\nSTRIPE_TOKEN=***\n"


def test_url_with_a_password_is_a_secret_by_whatever_name() -> None:
    made = planned(app(DATABASE="postgres://app:pw@db/x", SITE="https://example.org/a@b:c"))
    [file] = [each for each in made.files if each.path == "env/a.env"]
    assert (file.secrets, file.mode) == (("DATABASE",), 0o600)


def test_file_without_a_secret_may_be_read_by_everybody() -> None:
    assert {file.mode for file in planned(app(LEVEL="info")).files} == {0o644}


@pytest.mark.parametrize(
    "env",
    [
        {"REDIS_HOST": "redis.example", "REDIS_PORT": "6380", "REDIS_PASSWORD": "s3cret"},
        {"REDIS_URL": "redis://:s3cret@redis.example:6380/0"},
        {"REDIS_HOST": "redis.example", "REDIS_PORT": 6380, "REDIS_AUTH": "s3cret", "REDIS_DB": 0},
    ],
)
def test_password_of_redis_is_a_credential_and_nowhere_else(env: Any, tmp_path: Path) -> None:
    made = planned(app(**env))
    [password] = [file for file in made.files if "s3cret" in file.text]
    assert (password.path, password.mode) == ("credentials.d/redis-password", 0o600)
    assert "s3cret" not in password.shown
    settings = settings_in(put(made, tmp_path / "etc"))
    assert settings.redis.url == "redis://redis.example:6380/0"
    assert settings.redis.password == "s3cret"


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_PORT": 7000, "REDIS_DB": "3"}, "redis://localhost:7000/3"),
        ({"REDIS_USERNAME": "jobs@x"}, "redis://jobs%40x@localhost:6379/0"),
        ({"REDIS_URL": "unix:///run/redis.sock?db=2"}, "unix:///run/redis.sock?db=2"),
    ],
)
def test_address_of_redis_is_a_url(env: Any, url: str, tmp_path: Path) -> None:
    assert settings_in(put(planned(app(**env)), tmp_path / "etc")).redis.url == url


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, "env.REDIS_PORT: found"),
        ({"REDIS_HOST": "a b"}, "env.REDIS_HOST: found"),
        ({"REDIS_DB": "first"}, "env.REDIS_DB: found no number"),
        ({"REDIS_URL": "http://x"}, "env.REDIS_URL: found"),
        ({"REDIS_PASSWORD": "two\nlines"}, "env.REDIS_PASSWORD: found a secret"),
    ],
)
def test_impossible_address_is_a_mistake_that_names_its_variable(env: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(app(**env))
    assert str(caught.value).startswith(f"ecosystem.json: apps[0].{told}")
    assert "two" not in str(caught.value)


def test_second_redis_is_said_to_be_one_too_many() -> None:
    other = {**app(REDIS_HOST="second"), "name": "worker_b"}
    assert "one Redis" in why(planned(app(REDIS_HOST="first"), other), "env.REDIS_HOST")


def test_environment_that_is_asked_for_is_laid_over_the_usual_one() -> None:
    one = {**app(LEVEL="debug", X="y"), "env_production": {"LEVEL": "info"}, "env_test": {}}
    assert text_of(planned(one), "env/a.env") == "LEVEL=debug\nX=y\n"
    made = planned(one, host=Host(4, "production"))
    assert text_of(made, "env/a.env") == "LEVEL=info\nX=y\n"
    assert {left.option for left in made.left} == {"script", "env_test"}


def test_environment_that_no_app_has_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="env_staging: found in no app, expected one of: test"):
        planned({**app(), "env_test": {}}, host=Host(4, "staging"))


def test_values_are_written_as_node_would_write_them() -> None:
    made = planned(app(N=6379, F=1.0, T=True, O={"a": [1]}, Z=None, E=""))
    assert text_of(made, "env/a.env").splitlines() == [
        "E=", "F=1", "N=6379", r'O="{\"a\":[1]}"', "T=true", "Z=null"
    ]  # fmt: skip


def test_development_is_told_to_meshd_by_its_own_name() -> None:
    made = planned(app(NODE_ENV="development"))
    assert text_of(made, "env/a.env") == "MESHD_ENV=development\nNODE_ENV=development\n"


def test_name_of_a_worker_that_meshd_would_not_give_it_is_kept() -> None:
    assert text_of(planned(app(WORKER_ID="worker_a9")), "env/a.env") == "WORKER_ID=worker_a9\n"
    assert why(planned(app(WORKER_ID="worker a")), "env.WORKER_ID").startswith("systemd takes no")


@pytest.mark.parametrize("name", ["A-B", "1A", "", "Ä", "A B", "A\n"])
def test_variable_that_systemd_would_refuse_is_left(name: str) -> None:
    made = planned(app(**{name: "x"}))
    assert why(made, f"env.{name}").startswith("systemd takes no variable")
    assert not [file for file in made.files if file.path.startswith("env/")]


def test_what_systemd_and_pm2_give_to_a_process_is_no_setting_of_it() -> None:
    made = planned(app(NOTIFY_SOCKET="/x", RUNTIME_DIRECTORY="/y", PM2_HOME="/z", MESHD_UNIT="u"))
    assert not [file for file in made.files if file.path.startswith("env/")]


# --- dump.pm2 -----------------------------------------------------------------------------------


def test_processes_of_a_dump_are_one_kind() -> None:
    made = plan(apps_in([of_a_dump(0), of_a_dump(1)], SOURCE), Host(4))
    assert made.became == (("worker_a", "a", 2),)
    assert {left.option for left in made.left} == {"script", "env"}
    assert why(made, "env").endswith("left out: HOME, PATH")
    assert not [file for file in made.files if file.path.startswith("env/")]


def test_variable_that_a_dump_has_counted_is_not_counted_again() -> None:
    processes = [{**of_a_dump(at, PORT=3000 + at), "increment_var": "PORT"} for at in (0, 1)]
    made = plan(apps_in(processes, SOURCE), Host(4))
    assert [text_of(made, f"env/a{at}.env") for at in (1, 2)] == ["PORT=3000\n", "PORT=3001\n"]


def test_variable_of_a_dump_is_not_taken_for_an_option() -> None:
    made = plan(apps_in([of_a_dump(0, time="soon", watch="x")], SOURCE), Host(4))
    assert text_of(made, "env/a.env") == "time=soon\nwatch=x\n"
    assert {left.option for left in made.left} == {"script", "env"}


# --- what systemd makes of it -------------------------------------------------------------------

VALUES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), include_characters="\t\n\"'\\ #;=`"),
    min_size=1,
).filter(lambda text: "$" not in text)  # which the parser at hand would look up, and a unit's not


@pytest.mark.skipif(not PARSER.exists(), reason="needs systemd")
@settings(max_examples=50, deadline=None)
@given(value=VALUES)
def test_systemd_reads_back_every_value(value: str) -> None:
    assert parsed_by_systemd(environment_file({"X": value})) == value


def parsed_by_systemd(text: str) -> str:
    """The value of X, as systemd's reader of such files has it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "environment.d/x.conf")
        file.parent.mkdir()
        file.write_text(text, encoding="utf-8")
        env = {"XDG_CONFIG_HOME": folder, "HOME": folder, "LANG": "C.UTF-8"}
        done = subprocess.run([PARSER], env=env, capture_output=True, check=True, timeout=20)
    said = f"\n{done.stdout.decode()}".partition("\nX=")[2].partition("\n")[0]
    quoted = re.fullmatch('"(.*)"', said)
    escapes = {"n": "\n", "t": "\t"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), quoted[1]) if quoted else said
