"""Addresses that name several hosts: what is accepted, and no leak of a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import hosts_of, load, masked
from meshd.errors import ConfigError

SECRET = "s3cr3t"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "meshd.toml"
    file.touch()
    return file


@pytest.mark.parametrize(
    ("url", "sentinels", "database"),
    [
        ("redis+sentinel://h1:26379,h2:26380,10.0.0.3/mymaster/2",
         (("h1", 26379), ("h2", 26380), ("10.0.0.3", 26379)), 2),
        ("redis+sentinel://h1/mymaster", (("h1", 26379),), 0),
        ("redis+sentinel://h1/mymaster/", (("h1", 26379),), 0),
        ("redis+sentinel://h1,[::1]:5,[2001:db8::1]/mymaster",
         (("h1", 26379), ("::1", 5), ("2001:db8::1", 26379)), 0),
    ],
)  # fmt: skip
def test_sentinels_service_and_database_are_read(
    config: Path, url: str, sentinels: tuple[tuple[str, int], ...], database: int
) -> None:
    config.write_text(f"[redis]\nurl = '{url}'")
    settings = load(config, {})
    assert settings.redis.url == url
    service = hosts_of(settings.redis.url)
    assert (service.addresses, service.service, service.database) == (
        sentinels, "mymaster", database,
    )  # fmt: skip


def test_password_is_that_of_the_primary_and_leaves_the_url(config: Path) -> None:
    config.write_text(f"[redis]\nurl = 'redis+sentinel://jobs:{SECRET}%2F@h1,[::1]/main/1'")
    redis = load(config, {}).redis
    assert redis.url == "redis+sentinel://jobs@h1,[::1]/main/1"
    assert redis.password == f"{SECRET}/"
    assert hosts_of(redis.url).at("::2", 6380) == "redis://jobs@[::2]:6380/1"
    assert hosts_of("redis+sentinel://h1/main").at("db", 6379) == "redis://db:6379/0"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis+sentinel://h1:26379", "the name that the sentinels know the service by"),
        ("redis+sentinel://h1:26379/", "the name that the sentinels know the service by"),
        ("redis+sentinel://h1/main/x", "database number"),
        ("redis+sentinel://h1/main/0/1", "database number"),
        ("redis+sentinel://h1/main?db=1", "database number"),
        ("redis+sentinel:///main", "expected hosts"),
        ("redis+sentinel://h1,,h2/main", "expected hosts"),
        ("redis+sentinel://h1:0/main", "a port from 1 to 65535"),
        ("redis+sentinel://h1:65536/main", "a port from 1 to 65535"),
        ("redis+sentinel://h1:p/main", "a port from 1 to 65535"),
        (f"redis+sentinel://u:{SECRET}@h1:p/main", "a port from 1 to 65535"),
        (f"redis+sentinel://u:{SECRET}/x@h1/main", "database number"),
    ],
)
def test_mistake_is_named_and_the_password_is_not(config: Path, url: str, complaint: str) -> None:
    config.write_text(f"[redis]\nurl = '{url}'")
    with pytest.raises(ConfigError, match=r"redis\.url") as caught:
        load(config, {})
    assert complaint in str(caught.value)
    assert "redis+sentinel://HOST:PORT,HOST:PORT,.../SERVICE/DB" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_masked_url_keeps_hosts_and_service() -> None:
    assert masked(f"redis+sentinel://u:{SECRET}@h1,h2/main") == "redis+sentinel://u:***@h1,h2/main"
    assert masked("redis+sentinel://h1,h2/main/3") == "redis+sentinel://h1,h2/main/3"
    assert SECRET not in masked(f"redis+sentinel://u:{SECRET}/@h1/main")


@pytest.mark.parametrize(
    ("url", "nodes"),
    [
        ("redis+cluster://h1:7000,h2", (("h1", 7000), ("h2", 6379))),
        ("redis+cluster://h1/", (("h1", 6379),)),
        ("redis+cluster://meshd@[::1]:7000,h2/0", (("::1", 7000), ("h2", 6379))),
    ],
)
def test_nodes_of_a_cluster_are_read(
    config: Path, url: str, nodes: tuple[tuple[str, int], ...]
) -> None:
    config.write_text(f"[redis]\nurl = '{url}'")
    assert hosts_of(load(config, {}).redis.url).addresses == nodes


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis+cluster://", "expected hosts"),
        ("redis+cluster://h1/1", "hosts and no database"),
        ("redis+cluster://h1/service/0", "hosts and no database"),
        (f"redis+cluster://u:{SECRET}@h1:p", "a port from 1 to 65535"),
    ],
)
def test_mistake_in_a_cluster_is_named(config: Path, url: str, complaint: str) -> None:
    config.write_text(f"[redis]\nurl = '{url}'")
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(config, {})
    assert SECRET not in str(caught.value)


def test_host_of_the_environment_stands_for_one_server(config: Path) -> None:
    config.write_text("[redis]\nurl = 'redis+sentinel://h1,h2/main/3'")
    assert load(config, {"REDIS_HOST": "db"}).redis.url == "redis://db:6379/0"
