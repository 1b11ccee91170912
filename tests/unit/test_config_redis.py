"""The address of Redis and its password: accepted forms, precedence, and no leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import Settings, describe, load, masked
from meshd.errors import ConfigError

SECRET = "s3cr3t"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "meshd.toml"
    file.touch()
    return file


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


def load_url(config: Path, url: str, **env: str) -> Settings:
    config.write_text(f"[redis]\nurl = '''{url}'''")
    return load(config, env)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://localhost",
        "redis://10.0.0.1:1/15",
        "redis://[::1]:6379/0",
        "redis://user@db",
        "redis://db?db=3",
        "rediss://db:6380/0?ssl_ca_certs=/etc/meshd/ca.pem&ssl_cert_reqs=required",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_address_of_a_single_server_is_accepted_as_it_is(config: Path, url: str) -> None:
    settings = load_url(config, url)
    assert settings.redis.url == url
    assert settings.redis.password is None


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("redis://:s3cr3t@db:6379/0", "redis://db:6379/0"),
        ("redis://user:s3cr3t@db", "redis://user@db"),
        ("redis://db/1?password=s3cr3t&db=1", "redis://db/1?db=1"),
        ("unix://user:s3cr3t@/run/redis.sock?db=1", "unix://user@/run/redis.sock?db=1"),
        ("unix:///run/redis.sock?password=s3cr3t", "unix:///run/redis.sock"),
        ("rediss://:s3cr3t@[::1]:6379", "rediss://[::1]:6379"),
    ],
)
def test_password_leaves_the_url(config: Path, url: str, bare: str) -> None:
    settings = load_url(config, url)
    assert settings.redis.url == bare
    assert settings.redis.password == SECRET
    assert settings.origins["redis.password"] == f"file {config}"


def test_password_is_decoded(config: Path) -> None:
    assert load_url(config, "redis://:a%2Fb%40c%3A@db").redis.password == "a/b@c:"


@pytest.mark.parametrize("name", ["redis-password", "meshd_redis-password"])
def test_credential_is_stronger_than_the_url(config: Path, credentials: Path, name: str) -> None:
    (credentials / name).write_text("from systemd \n")
    settings = load_url(config, f"redis://user:{SECRET}@db", CREDENTIALS_DIRECTORY=str(credentials))
    assert settings.redis.url == "redis://user@db"
    assert settings.redis.password == "from systemd "
    assert settings.origins["redis.password"] == f"credential {name}"


def test_without_the_credential_the_url_counts(config: Path, credentials: Path) -> None:
    settings = load_url(config, f"redis://:{SECRET}@db", CREDENTIALS_DIRECTORY=str(credentials))
    assert settings.redis.password == SECRET


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe"])
def test_credential_that_is_no_password_is_refused(
    config: Path, credentials: Path, content: bytes
) -> None:
    (credentials / "redis-password").write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{credentials}/redis-password: expected one line"):
        load(config, {"CREDENTIALS_DIRECTORY": str(credentials)})


# --- parts from the environment -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        ("redis://db:1/2", {"REDIS_HOST": "other"}, "redis://other:1/2"),
        ("redis://db:1/2", {"REDIS_PORT": "7"}, "redis://db:7/2"),
        ("rediss://user@db/2", {"REDIS_HOST": "other"}, "rediss://user@other:6379/2"),
        ("redis://db", {"REDIS_HOST": "::1"}, "redis://[::1]:6379"),
        ("redis://db", {"REDIS_HOST": "[fe80::1]"}, "redis://[fe80::1]:6379"),
        ("redis://[::2]:5", {"REDIS_PORT": "6"}, "redis://[::2]:6"),
        ("unix:///run/redis.sock", {"REDIS_HOST": "db"}, "redis://db:6379/0"),
        ("redis://file", {"REDIS_URL": "redis://var:5/1", "REDIS_PORT": "6"}, "redis://var:6/1"),
    ],
)
def test_host_and_port_replace_these_parts_of_the_url(
    config: Path, url: str, env: dict[str, str], expected: str
) -> None:
    assert load_url(config, url, **env).redis.url == expected


def test_origin_names_all_who_had_a_part_in_the_address(config: Path) -> None:
    settings = load_url(config, "redis://db:1", REDIS_HOST="other")
    assert settings.origins["redis.url"] == f"file {config}, environment REDIS_HOST"


def test_password_of_the_url_stays_when_the_host_changes(config: Path) -> None:
    assert load_url(config, f"redis://:{SECRET}@db", REDIS_HOST="other").redis.password == SECRET


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REDIS_HOST", "redis://db", "a host name or an address alone"),
        ("REDIS_HOST", "db:6380", "a port belongs into REDIS_PORT"),
        ("REDIS_HOST", "10.0.0.1:6380", "a port belongs into REDIS_PORT"),
        ("REDIS_HOST", "/run/redis.sock", "a URL or a socket into REDIS_URL"),
        ("REDIS_HOST", "a b", "a host name or an address alone"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "a port from 1 to 65535"),
        ("REDIS_PORT", "0", "a port from 1 to 65535"),
        ("REDIS_PORT", "65536", "a port from 1 to 65535"),
        ("REDIS_PORT", "-1", "a port from 1 to 65535"),
        ("REDIS_PORT", "٣", "a port from 1 to 65535"),
    ],
)
def test_host_or_port_that_is_none_is_refused(
    config: Path, name: str, value: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config, {name: value})
    assert str(caught.value).startswith(f"environment {name}: redis.url: found ")
    assert expected in str(caught.value)
    assert str(caught.value).endswith(f"; correct or unset {name}")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://db", "a URL such as"),
        ("localhost:6379", "a URL such as"),
        ("redis:localhost", "a URL such as"),
        ("", "a URL such as"),
        ("redis://db host", "a URL such as"),
        ("redis://db\u200b", "a URL such as"),
        ("redis://db:sixthousand", "a host and a port from 1 to 65535"),
        ("redis://db:65536", "a host and a port from 1 to 65535"),
        ("redis://db:0", "a port from 1 to 65535"),
        ("redis://[::1", "a host and a port from 1 to 65535"),
        ("redis://db/zero", "a database number"),
        ("redis://db?db=zero", "a database number"),
        ("redis://db/0#1", "percent-encoded"),
        ("redis://db?timeout=5", 'not "timeout"'),
        ("redis://db?ssl_ca_certs=/x", 'not "ssl_ca_certs"'),
        ("unix://run/redis.sock", "after three slashes"),
        ("unix://", "after three slashes"),
    ],
)
def test_url_that_leads_nowhere_is_refused(config: Path, url: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_url(config, url)
    message = str(caught.value)
    assert message.startswith(f"{config}: redis.url: found ")
    assert expected in message
    assert message.endswith('correct or remove it (default: "redis://localhost:6379/0")')


def test_url_that_is_no_text_is_refused(config: Path) -> None:
    config.write_text("[redis]\nurl = 6379")
    with pytest.raises(ConfigError, match=r"redis\.url: found 6379, expected a URL in quotes"):
        load(config, {})


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr3t@db:99999",
        "redis://:s3cr3t@db/zero",
        "redis://:s3cr3t",
        "redis://:s3cr3t/more@db",
        "redis://:1/s3cr3t@db",
        "redis://:1?s3cr3t@db",
        "redis://:1#s3cr3t@db",
        "redis://:more@s3cr3t@db/zero",
        "redis://db?password=s3cr3t&timeout=1",
        "redis+sentinel://:s3cr3t@h1:1,h2:2/service/zero",
        "http://user:s3cr3t@db",
        "user:s3cr3t@db:6379",
        "unix://:s3cr3t@run/redis.sock",
    ],
)
def test_refused_url_does_not_show_its_password(config: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_url(config, url)
    assert "s3cr3t" not in str(caught.value)


def test_password_written_as_a_setting_is_sent_elsewhere_unseen(config: Path) -> None:
    config.write_text(f"[redis]\npassword = '{SECRET}'")
    with pytest.raises(ConfigError) as caught:
        load(config, {})
    assert SECRET not in str(caught.value)
    assert "the credential redis-password" in str(caught.value)


def test_neither_describe_nor_repr_shows_the_password(config: Path) -> None:
    settings = load_url(config, f"redis://user:{SECRET}@db")
    assert ("redis.password", "***", f"file {config}") in describe(settings)
    assert SECRET not in str(describe(settings))
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pw@db:6379/0", "redis://user:***@db:6379/0"),
        ("redis://:pw@db", "redis://:***@db"),
        ("redis://db?password=pw&db=1", "redis://db?password=***&db=1"),
        ("redis://user@db", "redis://user@db"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://:p/w@db", "redis://***"),
        ("localhost:6379", "localhost:6379"),
    ],
)
def test_masked_url_keeps_all_but_the_password(url: str, shown: str) -> None:
    assert masked(url) == shown
