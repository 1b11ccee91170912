"""Every mistake in the configuration is one line: place, key, found, expected, remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import load
from meshd.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "meshd.toml"


def message_for(config: Path, text: str) -> str:
    config.write_text(text)
    return refusal(config, {}, {})


def refusal(config: Path, env: dict[str, str], flags: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config, env, flags)
    return str(caught.value)


WORDED = {
    '[kinds.a]\ntimeout = "5 parsecs"': (
        'kinds.a.timeout: found "5 parsecs", expected a duration such as "5min 20s", "100ms" or a '
        "number of seconds; the units are us, ms, s, min, h, d, w; correct or remove it "
        '(default: "5min")'
    ),
    "[kinds.a]\nrunners = 0": (
        "kinds.a.runners: found 0, expected a whole number of at least 1; "
        "correct or remove it (default: 1)"
    ),
    '[kinds.a]\nrunners = "two"': (
        'kinds.a.runners: found "two", expected a whole number of at least 1; '
        "correct or remove it (default: 1)"
    ),
    "[kinds.a]\nhandlers = []": (
        "kinds.a.handlers: found an empty list, expected a list of modules "
        '("app.tasks"), files ("./tasks.py") or folders ("./tasks/") with handlers; '
        "correct or remove it"
    ),
    '[log]\nlevel = "verbose"': (
        'log.level: found "verbose", expected "debug" or "info" or "warning" or "error"; '
        'correct or remove it (default: "info")'
    ),
    "[kinds.a.autoscale]\nmin = 4\nmax = 2": (
        "kinds.a.autoscale.max: found 2, expected at least 4, which kinds.a.autoscale.min is; "
        "correct or remove it"
    ),
    "[kinds.a]\nautoscale = 8": (
        "kinds.a.autoscale: found 8, expected a table [kinds.a.autoscale]; correct or remove it"
    ),
    "[kinds.a.autoscale]\nmin = 0": (
        "kinds.a.autoscale.min: found 0, expected a whole number of at least 1; "
        "correct or remove it (default: 1)"
    ),
    '[kinds.a.autoscale]\ntarget_wait = "1ms"': (
        'kinds.a.autoscale.target_wait: found "1ms", expected a duration of at least 10ms; '
        'correct or remove it (default: "1s")'
    ),
    "[kinds.a.autoscale]\nmaximum = 8": (
        "kinds.a.autoscale.maximum: found an unknown key, the nearest known one is "
        "kinds.a.autoscale.max; correct or remove it"
    ),
    "[worker]\ndrain_timout = 5": (
        "worker.drain_timout: found an unknown key, the nearest known one is "
        "worker.drain_timeout; correct or remove it"
    ),
}


@pytest.mark.parametrize("text", WORDED)
def test_message_names_file_key_found_expected_and_remedy(config: Path, text: str) -> None:
    assert message_for(config, text) == f"{config}: {WORDED[text]}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[kinds.a]\nrunners = true", "kinds.a.runners: found true, expected a whole number"),
        ("[kinds.a]\nrunners = 1.5", "kinds.a.runners: found 1.5, expected a whole number"),
        ("[kinds.a]\nmax_crashes = -1", "found -1, expected a whole number of at least 0"),
        ("[kinds.a]\ntimeout = true", "kinds.a.timeout: found true, expected a duration"),
        ("[kinds.a]\ntimeout = 0", "found 0, expected a duration of at least 1ms"),
        ("[kinds.a]\ntimeout = nan", "found nan, expected a duration"),
        ("[kinds.a]\ntimeout = 07:32:00", "found 07:32:00, expected a duration"),
        ("[kinds.a]\ntimeout = [5]", "found a list beginning with 5, expected a duration"),
        ("[kinds.a]\nmax_memory = '512MB'", 'found "512MB", expected a size such as "512M"'),
        ("[kinds.a]\nmax_memory = '1K'", 'found "1K", expected a size of at least 1M'),
        ("[kinds.a]\nhandlers = 'app'", 'found "app", expected a list of modules'),
        ("[kinds.a]\nhandlers = ['my-app']", 'found "my-app", expected a list of modules'),
        ("[kinds.a]\nhandlers = ['']", 'found "", expected a list of modules'),
        ("[kinds.a]\nhandlers = [5]", "found 5, expected a list of modules"),
        ("[kinds.a]\nretry_delays = '10s'", 'found "10s", expected a list of durations'),
        ("[kinds.a]\nretry_delays = []", "found an empty list, expected a list of durations"),
        ("[kinds.a]\nretry_delays = ['x']", 'found "x", expected a duration'),
        ("[kinds.a]\npython = ''", 'kinds.a.python: found "", expected a path'),
        ("[redis]\nstart_timeout = '81s'", 'found "81s", expected a duration of at most 80s'),
        ("[redis]\nsocket_timeout = '6s'", 'found "6s", expected a duration of at most 5s'),
        ("environment = 'prod'", 'found "prod", expected "production" or "development"'),
        ("redis = 5", "redis: found 5, expected a table [redis]"),
        ("kinds = 'a'", 'kinds: found "a", expected a table [kinds]'),
        ("[kinds]\na = 5", "kinds.a: found 5, expected a table [kinds.a]"),
        ("[[kinds]]\na = 5", "kinds: found a list beginning with a table, expected a table"),
        ("[kinds.a1]\nrunners = 1", 'kinds.a1.runners: found "a1", expected the name of a kind'),
        ("[kinds.A]", 'kinds.A: found "A", expected the name of a kind in the letters a to z'),
        ("[kinds.'']", 'kinds.: found "", expected the name of a kind'),
        ("[kinds.c]\nrunners = 1", "kinds.c.handlers: found nothing, expected a list of modules"),
        ("[kinds.c]\n[kinds.cc]\nhandlers=['x']", "kinds.c.handlers: found nothing, expected"),
        ("worker_id = 'x'", "worker_id: found here, expected elsewhere: it belongs to one worker"),
    ],
)
def test_value_that_cannot_be_right_is_refused(config: Path, text: str, expected: str) -> None:
    message = message_for(config, text)
    assert message.startswith(f"{config}: ")
    assert expected in message
    assert "; correct or remove it" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[worker]\nmax_paylod = 1", "the nearest known one is worker.max_payload;"),
        ("[kinds.video]\ntimeouts = 1", "the nearest known one is kinds.video.timeout;"),
        ("[kinds.a.retry]\ncap = 1", "the nearest known one is kinds.a.retry_cap;"),
        ("timeout = 1", "the nearest known one is kinds.<kind>.timeout;"),
        ("[radis]\nurl = 'redis://x'", "the nearest known one is redis.url;"),
        ("[redis.url]\nhost = 'x'", "the nearest known one is"),
        ("[log]\nzzz = 1", "expected one of log.format, log.level;"),
        ("zzz = 1", "expected one of environment, [log], [metrics], [redis], [supervisor], [wor"),
        ("[zzz]", "expected one of environment, [log],"),
        ("[worker]\nheartbeat = 1", "expected one of worker.drain_timeout,"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(
    config: Path, text: str, nearest: str
) -> None:
    message = message_for(config, text)
    assert "found an unknown key" in message
    assert nearest in message


def test_all_mistakes_of_all_files_are_named_at_once(config: Path) -> None:
    config.write_text("[kinds.a]\nrunners = 0\ntimeout = 'x'")
    more = config.parent / "conf.d/more.toml"
    more.parent.mkdir()
    more.write_text("zzz = 1")
    lines = refusal(config, {"MESHD_ENV": "prod"}, {"log.level": "loud"}).splitlines()
    assert [line.split(": found")[0] for line in lines] == [
        f"{config}: kinds.a.runners",
        f"{config}: kinds.a.timeout",
        f"{more}: zzz",
        "environment MESHD_ENV: environment",
        "--log-level: log.level",
    ]
    assert lines[3].endswith('; correct or unset MESHD_ENV (default: "production")')
    assert lines[4].endswith('; correct --log-level (default: "info")')


@pytest.mark.parametrize("key", ["zzz", "redis.password", "worker_id", "kinds.A.timeout", "redis"])
def test_flag_for_what_is_no_setting_is_refused(config: Path, key: str) -> None:
    config.touch()
    flag = f"--{key}".replace(".", "-").replace("_", "-")
    message = refusal(config, {}, {key: "1"})
    assert message.startswith(f"{flag}: {key}: found ")
    assert message.endswith(f"; correct {flag}")


# --- files that cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[log]\nlevel = \n", 2),
        ("[log\n", 1),
        ("a = 1\na = 2\n", 2),
        ("[log]\n\n[log]\n", 3),
        ("[log]\nlevel = '''\n", 3),
        ("x = [1,\n2,\n", 3),
    ],
)
def test_text_that_is_not_toml_is_refused_with_file_and_line(
    config: Path, text: str, line: int
) -> None:
    message = message_for(config, text)
    assert message.startswith(f"{config}:{line}: expected TOML: ")
    assert message.endswith("; correct that line")


def test_file_that_is_not_utf8_is_refused_with_its_line(config: Path) -> None:
    config.write_bytes(b"[log]\n# caf\xe9\n")
    assert refusal(config, {}, {}).startswith(f"{config}:2: expected TOML: it is not UTF-8")


def test_folder_in_place_of_the_file_is_refused(config: Path) -> None:
    config.mkdir()
    assert refusal(config, {}, {}).startswith(f"{config}: found Is a directory, expected")


def test_file_in_place_of_conf_d_is_refused(config: Path) -> None:
    config.touch()
    (config.parent / "conf.d").touch()
    assert refusal(config, {}, {}).startswith(f"{config.parent}/conf.d: found Not a directory")


def test_file_behind_a_file_is_refused(config: Path) -> None:
    config.touch()
    assert refusal(config / "x.toml", {}, {}).startswith(f"{config}/x.toml: found Not a directory")


def test_file_that_cannot_be_reached_is_no_missing_file(config: Path) -> None:
    config.symlink_to(config)
    assert refusal(config, {}, {}).startswith(f"{config}: found Too many levels of symbolic links")


def test_dangling_link_in_conf_d_is_refused(config: Path) -> None:
    config.touch()
    link = config.parent / "conf.d/x.toml"
    link.parent.mkdir()
    link.symlink_to("nowhere")
    assert refusal(config, {}, {}).startswith(f"{link}: found No such file or directory")


def test_control_characters_do_not_reach_the_terminal(config: Path) -> None:
    message = message_for(config, '[log]\nlevel = "\\u001b[31m\\nx\\u200b"')
    assert message.isprintable()
    assert '"\\u001b[31m\\nx\\u200b"' in message


def test_control_characters_in_a_key_do_not_reach_the_terminal(config: Path) -> None:
    message = message_for(config, '"a\\u001b[31m\\nb" = 1')
    assert message.isprintable()
    assert '"a\\u001b[31m\\nb": found an unknown key' in message


def test_long_value_is_cut(config: Path) -> None:
    assert len(message_for(config, f"[log]\nlevel = '{'x' * 10_000}'")) < 500 + len(str(config))
