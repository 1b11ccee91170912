"""Connecting to Redis, wherever the settings say that it is, and making sure that meshd can work
with who answers.
"""

from __future__ import annotations

from meshd.broker.cluster import dial_node
from meshd.broker.dial import dial, hinting
from meshd.broker.link import OLDEST_SERVER, Link, Server, loading
from meshd.broker.sentinel import dial_primary
from meshd.config import RedisSettings, is_cluster, is_sentinel
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import INBOX


def connect(settings: RedisSettings, home: str = INBOX) -> Link:
    """Open a link and make sure that the server can run meshd's scripts. In a cluster its own
    socket leads to the node that has the key `home`.

    Raises BrokerUnavailable, also for a server that is too old and for a wrong password: both can
    be put right while a daemon waits.
    """
    link = _dialled(settings, home)
    try:
        # Together: a daemon has several links, and a slow server would hold it up with each twice.
        info, *_ = link.pipeline([(b"INFO", b"server"), *loading()])
        link.server = _server(info, link.address)
    except BrokerError as error:
        link.close()
        with_hint = hinting(error, settings)
        if with_hint is error:
            raise
        raise with_hint from error
    return link


def _dialled(settings: RedisSettings, home: str) -> Link:
    if is_sentinel(settings.url):
        return dial_primary(settings)
    if is_cluster(settings.url):
        return dial_node(settings, home)
    return dial(settings, Link)


def _server(info: bytes, address: str) -> Server:
    said = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    text = said.get("redis_version", "0.0")
    major, minor = (int(part) for part in [*text.split("."), "0"][:2])
    if (major, minor) < OLDEST_SERVER:
        raise BrokerUnavailable(
            f"Redis at {address} is version {text}; meshd needs 5.0 or newer: upgrade it"
        )
    valkey = said.get("valkey_version")
    return Server((major, minor), f"Valkey {valkey}" if valkey else f"Redis {text}")
