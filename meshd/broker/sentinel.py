"""Who of a service's servers is its primary: the sentinels are asked each time anew, and the server
that they name is asked whether it agrees.

Follows https://redis.io/docs/reference/sentinel-clients/. It does not listen for the sentinels'
announcements: a server that stops being the primary closes its connections or refuses to write,
and both lead here again.
"""

from __future__ import annotations

from dataclasses import replace

from meshd.broker.dial import dial
from meshd.broker.link import Link
from meshd.config import Hosts, RedisSettings, hosts_of
from meshd.errors import BrokerError, BrokerUnavailable


def dial_primary(settings: RedisSettings) -> Link:
    """A link to the primary of the service in `settings.url`, by the first sentinel whose word
    proves true. Raises BrokerUnavailable, which says what each sentinel answered.
    """
    service = hosts_of(settings.url)
    asked = service._replace(user=None, database=0)
    answers = []
    for host, port in service.addresses:
        try:
            return _by_word_of(asked.at(host, port), service, settings)
        except BrokerError as error:
            answers.append(str(error))
    raise BrokerUnavailable(f"no primary of {service.service}: {'; '.join(dict.fromkeys(answers))}")


def _by_word_of(sentinel: str, service: Hosts, settings: RedisSettings) -> Link:
    host, port = _primary(sentinel, service.service, settings)
    link = dial(replace(settings, url=service.at(host, port)), Link)
    try:
        if b"role:master" not in link.call(b"INFO", b"replication").splitlines():
            raise BrokerUnavailable(
                f"{link.address}, which {sentinel} takes for the primary, is a replica still"
            )
    except BrokerError:
        link.close()
        raise
    return link


def _primary(sentinel: str, service: str, settings: RedisSettings) -> tuple[str, int]:
    link = dial(replace(settings, url=sentinel, password=None), Link)
    try:
        found = link.call(b"SENTINEL", b"get-master-addr-by-name", service)
    finally:
        link.close()
    if found is None:
        raise BrokerUnavailable(f"the sentinel {sentinel} knows no service {service}")
    return found[0].decode(), int(found[1])
