"""meshd's configuration: `load` it, `describe` it, and read durations, sizes and instance names.

Settings are values: nothing here connects, starts or writes. Every mistake is a ConfigError that
names file, key, what was found, what was expected, and the remedy.

units, wording, redis_url, hosts_url, address   text
forms, schema               what there is to set
sources, check, load        how it is found and put together
show, instance              what others ask of it
"""

from __future__ import annotations

from meshd.config.address import Address, address_of
from meshd.config.hosts_url import Hosts, hosts_of, is_cluster, is_sentinel
from meshd.config.instance import Instance, kind_of, parse_instance
from meshd.config.load import load
from meshd.config.redis_url import DEFAULT_PORT, masked
from meshd.config.schema import (
    BUILT_IN_KINDS,
    AutoscaleSettings,
    KindSettings,
    LogSettings,
    MetricsSettings,
    RedisSettings,
    RetryCurve,
    Settings,
    SupervisorSettings,
    WorkerSettings,
)
from meshd.config.show import describe, differences
from meshd.config.sources import DEFAULT_FILE
from meshd.config.units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "BUILT_IN_KINDS",
    "DEFAULT_FILE",
    "DEFAULT_PORT",
    "Address",
    "AutoscaleSettings",
    "Hosts",
    "Instance",
    "KindSettings",
    "LogSettings",
    "MetricsSettings",
    "RedisSettings",
    "RetryCurve",
    "Settings",
    "SupervisorSettings",
    "WorkerSettings",
    "address_of",
    "describe",
    "differences",
    "format_duration",
    "format_size",
    "hosts_of",
    "is_cluster",
    "is_sentinel",
    "kind_of",
    "load",
    "masked",
    "parse_duration",
    "parse_instance",
    "parse_size",
]
