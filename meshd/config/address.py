"""Addresses to listen at, as people write them: 127.0.0.1:9600, localhost:9600, [::1]:9600."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from meshd.config.wording import refusal

EXPECTED = 'an address and a port such as "127.0.0.1:9600" or "[::1]:9600", or "" for none'
_WRITTEN = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this host can come there."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def address_of(text: str) -> Address:
    """What `host:port` says. Raises ConfigError."""
    match = _WRITTEN.fullmatch(text)
    port = int(match[3]) if match else 0
    if match is None or not 0 < port < 65_536:
        raise refusal(text, EXPECTED)
    return Address(match[1] or match[2], port)
