"""deploy/monitoring uses metrics that the service has, and Prometheus takes what is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.asking import ask, body, predict

HERE = Path(__file__).parent
MONITORING = HERE.parents[1] / "deploy" / "monitoring"
RULES = MONITORING / "prometheus-rules.yaml"
RULES_TEST = HERE / "prometheus_rules_test.yaml"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
PAGE = (HERE.parents[1] / "docs" / "operating.md").read_text()

_SELECTOR = re.compile(r"\b(grounded_labeler_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_OF_PROMETHEUS = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (
        one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"
    )


def in_prometheus(query: str) -> str:
    """A query of the dashboard as Grafana sends it."""
    return query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")


@pytest.fixture
def scraped(client: FlaskClient) -> dict[str, set[str]]:
    """The labels of each metric that a scrape names; metrics without a sample have none."""
    ask(client, "/data/upload/1/wide.jpg", "red circle . star")
    predict(client, body(["/data/upload/1/missing.jpg"]))
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        kind = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        for suffix in kind.get(family.type, ("",)):
            labels.setdefault(family.name + suffix, set())
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.slow
def test_what_is_queried_is_there(scraped: dict[str, set[str]]) -> None:
    count = 0
    for query in queries():
        for name, matchers in _SELECTOR.findall(query):
            assert name in scraped, query
            used = {label for label, _ in _MATCHER.findall(matchers)} - _OF_PROMETHEUS
            assert used <= scraped[name], query
            count += 1
        grouped = {
            label.strip()
            for labels in re.findall(r"\bby \(([^)]*)\)", query)
            for label in labels.split(",")
        }
        names = [name for name, _ in _SELECTOR.findall(query)]
        if "grounded_labeler_device_memory_bytes" not in names:  # there is no GPU
            assert grouped - _OF_PROMETHEUS <= set().union(*(scraped[name] for name in names))
    assert count > 20


@pytest.mark.slow
def test_every_metric_of_the_service_is_shown_or_described(scraped: dict[str, set[str]]) -> None:
    own = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in scraped
        if name.startswith("grounded_labeler_") and not name.endswith("_created")
    }
    assert [name for name in sorted(own) if f"`{name}`" not in PAGE] == []


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)  # no panel on another


def unknown(written: object, known: object, at: str = "") -> Iterator[str]:
    """The fields of a dashboard that are not among those that Grafana knows of it."""
    if isinstance(written, dict):
        for name, value in written.items():
            if isinstance(known, dict) and name in known:
                yield from unknown(value, known[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(written, list):
        assert isinstance(known, list) and len(known) == len(written), at
        for number, (one, other) in enumerate(zip(written, known, strict=True)):
            yield from unknown(one, other, f"{at}[{number}]")
    elif written != known:
        yield at


def unknown_to_grafana(text: str) -> list[str]:
    register_default_plugins()
    dashboard = json.loads(text)
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    return list(unknown(dashboard, known))


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    # By its schema, which has the names of the fields; it takes any value.
    assert unknown_to_grafana(json.dumps(DASHBOARD)) == []


@pytest.mark.parametrize(
    "name", ["schemaVersion", "includeAll", "fieldConfig", "unit", "calcs", "legendFormat", "uid"]
)
def test_a_misspelt_field_of_a_dashboard_is_seen(name: str) -> None:
    text = json.dumps(DASHBOARD)
    misspelt = text.replace(f'"{name}":', f'"{name}x":')
    found = unknown_to_grafana(misspelt)
    assert len(found) == text.count(f'"{name}":') > 0
    assert all(one.endswith(f".{name}x") for one in found)


def test_each_alert_says_what_and_what_to_do_and_is_tried() -> None:
    tried = RULES_TEST.read_text()
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert f"`{rule['alert']}`" in PAGE
        assert tried.count(f"alertname: {rule['alert']}") >= 2


def promtool(*arguments: str, folder: Path) -> str:
    beside = Path(sys.executable).parent  # where tools/get_promtool.sh puts it
    found = shutil.which("promtool") or shutil.which("promtool", path=beside)
    if found is None:
        pytest.skip("no promtool: tools/get_promtool.sh says why, and Prometheus checks no rules")
    done = subprocess.run(
        [found, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules_and_they_do_what_they_say(tmp_path: Path) -> None:
    for file in (RULES, RULES_TEST):
        shutil.copy(file, tmp_path)
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES.name, folder=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST.name, folder=tmp_path)


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    shown = [one for one in queries() if not one.startswith("label_values")]
    recorded = [
        {"record": f"query:{number}", "expr": in_prometheus(query)}
        for number, query in enumerate(shown)
    ]
    text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]})
    (tmp_path / "queries.yaml").write_text(text)
    said = promtool("check", "rules", "queries.yaml", folder=tmp_path)
    assert f"{len(shown)} rules found" in said
