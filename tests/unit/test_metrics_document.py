"""docs/metrics.md, the alerts and the dashboard: they name what the code has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd.metrics.catalogue import CATALOGUE, OUTCOMES, Metric
from meshd.supervisor.meter import INBOX_LABEL, STATES
from meshd.worker.meter import MOST_TYPES, OTHER
from tests.support.document import Document

ROOT = Path(__file__).parents[2]
DOCUMENT = Document(ROOT / "docs/metrics.md")
PROTOCOL = Document(ROOT / "docs/protocol.md")
RULES = ROOT / "docs/examples/prometheus-rules.yml"
DASHBOARD = ROOT / "docs/examples/grafana-dashboard.json"
TESTS_OF_RULES = ROOT / "tests/support/prometheus-rules-test.yml"
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"\b(meshd_[a-z_]+)(?:\{([^}]*)\})?")
#: What Prometheus itself adds.
ADDED = {"instance", "job", "le"}


def series() -> dict[str, Metric]:
    """Every name under which samples are found."""
    found: dict[str, Metric] = {}
    for metric in CATALOGUE:
        ends = ("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",)
        found |= {metric.name + end: metric for end in ends}
    return found


SERIES = series()


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and what Prometheus is asked."""
    for expr in re.findall(r"^ +expr: (.+)$", RULES.read_text(), re.MULTILINE):
        yield "rules", expr
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"dashboard: {panel['title']}", target["expr"]
    for section, block in DOCUMENT.blocks("promql"):
        for line in block.splitlines():
            yield section, line


def test_tables_are_the_catalogue() -> None:
    rows = [
        row
        for section in ("Every daemon", "Workers", "The supervisor")
        for row in DOCUMENT.table(section, "metric", "type", "labels", "meaning")
    ]
    expected = [[m.name, m.type, ", ".join(f"`{x}`" for x in m.labels), m.help] for m in CATALOGUE]
    assert [[cell.strip("`") for cell in row] for row in rows] == [
        [cell.strip("`") for cell in row] for row in expected
    ]


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"meshd_[a-z]+(_[a-z]+)*", metric.name)
        assert (metric.type == "counter") == metric.name.endswith("_total")
        assert metric.type != "histogram" or metric.name.endswith("_seconds")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert bool(metric.bounds) == (metric.type == "histogram")
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize(("place", "expr"), list(expressions()))
def test_expression_names_metrics_and_labels_that_exist(place: str, expr: str) -> None:
    named = METRIC.findall(expr)
    assert named
    labels = set()
    for name, selectors in named:
        assert name in SERIES
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors))
        assert asked <= {*SERIES[name].labels} | ADDED
        labels |= {*SERIES[name].labels}
    grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", expr)
    assert {name.strip() for each in grouped for name in each.split(",")} <= labels | ADDED


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {SERIES[name].name for _, expr in _on_dashboard() for name, _ in METRIC.findall(expr)}
    assert shown == {metric.name for metric in CATALOGUE}


def _on_dashboard() -> list[tuple[str, str]]:
    return [each for each in expressions() if each[0].startswith("dashboard")]


def test_dashboard_can_be_imported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", DASHBOARD.read_text()))
    assert used == variables
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    assert all(target["datasource"]["uid"] == "${datasource}" for target in _targets())


def test_panels_lie_beside_each_other_and_within_the_page() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def _targets() -> list[dict[str, Any]]:
    return [target for panel in panels() for target in panel.get("targets", ())]


def test_values_of_labels_are_those_of_the_code() -> None:
    workers, supervisor = DOCUMENT.sections["Workers"], DOCUMENT.sections["The supervisor"]
    assert f"`{OTHER}`" in workers
    assert f"the first {MOST_TYPES} of them" in workers
    assert all(outcome in DOCUMENT.text for outcome in OUTCOMES)
    assert f"`{INBOX_LABEL}`" in DOCUMENT.sections["Reference"]
    said = re.search(r"`state` of a worker is (.+?)\.\n", supervisor, re.DOTALL)
    assert said is not None
    assert re.findall(r"`([a-z]+)`", said[1]) == list(STATES)
    verbs = re.search(r"`verb` is a counter of (.+?)\.\n", supervisor, re.DOTALL)
    assert verbs is not None
    assert re.findall(r"`([a-z]+)`", verbs[1]) == PROTOCOL.column("Counters", "counter")


def test_every_alert_is_tested_by_promtool() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    tested = re.findall(r"alertname: (\w+)", TESTS_OF_RULES.read_text())
    assert len(alerts) > 5
    assert {alert: tested.count(alert) for alert in alerts} == dict.fromkeys(alerts, 2)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's package prometheus)")
@pytest.mark.parametrize(("action", "path"), [("check", RULES), ("test", TESTS_OF_RULES)])
def test_promtool_finds_no_fault_with_the_rules(action: str, path: Path) -> None:
    command = [str(PROMTOOL), action, "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
