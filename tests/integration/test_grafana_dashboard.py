"""Every metric of the dashboard is one that ``/metrics`` gives, with the labels that its queries use."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from serving import opened, serving

INSTANCE = 'instance=~"$instance"'
"""A label that Prometheus adds."""


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> Any:
    return json.loads((repository / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def labels_by_metric(nano: Path) -> dict[str, set[str]]:
    """What a server gives that has answered one request and refused another."""
    with serving({"m": opened(nano)}) as client:
        assert client.post("/nli", json={"pairs": [["a", "b"]]}).status_code == 200
        assert client.post("/nli", json={}).status_code == 422
        lines = client.get("/metrics").text.splitlines()
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if match := re.match(r"(\w+)(?:\{(.*)\})? [^ ]+$", line):
            found[match[1]] |= set(re.findall(r"(\w+)=", match[2] or ""))
    return found


def queries(dashboard: Any) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_exists(dashboard: Any, labels_by_metric: dict[str, set[str]]) -> None:
    variables = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    named = {name for text in [*queries(dashboard), *variables] for name in re.findall(r"\bte_\w+", text)}
    assert len(named) > 12
    assert named <= labels_by_metric.keys()


def test_queries_group_by_labels_that_exist(dashboard: Any, labels_by_metric: dict[str, set[str]]) -> None:
    for query in queries(dashboard):
        assert query.count("(") == query.count(")")
        assert query.count(INSTANCE) == len(re.findall(r"\bte_\w+", query)), query
        for label, metric in re.findall(r"by \((\w+)\) \(rate\((te_\w+)", query):
            assert label in labels_by_metric[metric], query


def test_panels_do_not_overlap_and_have_their_own_numbers(dashboard: Any) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & cells and at["x"] + at["w"] <= 24, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
