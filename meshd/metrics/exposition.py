"""Counts in Prometheus's text format, by Prometheus's own client library. Nothing else imports it,
and this module is loaded only where metrics are on: it costs 80 ms and a megabyte.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric as Family,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from meshd.metrics.catalogue import CATALOGUE, DAEMON, Metric
from meshd.metrics.counts import Counts, Distribution, Labels


def render(daemon: str, counts: Counts) -> bytes:
    """The page of one daemon; families without a sample are left out."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(daemon, counts))
    text: bytes = generate_latest(registry)
    return text


class _Families(Collector):
    def __init__(self, daemon: str, counts: Counts) -> None:
        self._daemon = daemon
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE:
            family = self._family(metric)
            if family.samples:
                yield family

    def _family(self, metric: Metric) -> Family:
        if metric.type == "histogram":
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, distribution in self._counts.distributions(metric):
                histogram.add_metric(
                    self._all(metric, labels), _cumulated(metric, distribution), distribution.total
                )
            return histogram
        make = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=metric.labels)
        for labels, value in self._counts.numbers(metric).items():
            family.add_metric(self._all(metric, labels), value)
        return family

    def _all(self, metric: Metric, labels: Labels) -> Labels:
        return (self._daemon, *labels) if metric.labels[0] == DAEMON else labels


def _cumulated(metric: Metric, distribution: Distribution) -> list[tuple[str, float]]:
    bounds = (*map(floatToGoString, metric.bounds), "+Inf")
    return list(zip(bounds, itertools.accumulate(distribution.buckets), strict=True))
