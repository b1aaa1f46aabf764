"""OpenSLO files that are written by us: byte-stable, and read back as an equal set."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from loadgen.programme.openslo.read import read_files, read_text
from loadgen.programme.openslo.write import as_openslo, openslo_losses
from loadgen.programme.promises.objectives import Alert, Query, RatioIndicator
from loadgen.programme.promises.slo_set import SloSet
from tests.support.objectives import composite_sets, slo_sets

DATA = Path(__file__).parent.parent / "data/slo"


@given(slo_sets())
def test_export_is_read_back_as_an_equal_set_and_written_as_equal_bytes(slos: SloSet) -> None:
    text = as_openslo(slos)
    reading = read_text(text, "export.yaml")
    assert not reading.faults, (reading.faults, text)
    assert reading.slos == slos
    assert as_openslo(reading.slos) == text


@settings(max_examples=30)
@given(composite_sets())
def test_composites_are_read_back_as_an_equal_set_and_written_as_equal_bytes(slos: SloSet) -> None:
    text = as_openslo(slos)
    reading = read_text(text, "export.yaml")
    assert not reading.faults, (reading.faults, text)
    assert reading.slos == slos
    assert text.count("kind: SLO") == 1
    assert as_openslo(reading.slos) == text


@given(slo_sets())
def test_other_readers_of_yaml_see_the_same_texts_and_numbers(slos: SloSet) -> None:
    documents = list(yaml.safe_load_all(as_openslo(slos)))
    by_name = {one["metadata"]["name"]: one for one in documents if one["kind"] == "SLO"}
    for objective in slos.objectives:
        document = by_name[objective.name]
        assert document["spec"].get("description", "") == objective.description
        assert document["metadata"].get("labels", {}) == dict(objective.labels)
        assert document["spec"]["objectives"][0]["target"] == pytest.approx(float(objective.target), abs=1e-12)
        if isinstance(objective.indicator, RatioIndicator):
            source = document["spec"]["indicator"]["spec"]["ratioMetric"]["total"]["metricSource"]
            assert source["spec"] == objective.indicator.total.spec


@pytest.mark.parametrize("path", sorted(DATA.glob("openslo_*.yaml")), ids=lambda path: path.stem)
def test_examples_of_openslo_round_trip(path: Path) -> None:
    text = path.read_text().replace("- duration: 1m #", "- duration: 1M #")
    slos = read_text(text, path.name).check()
    assert slos.objectives
    once = as_openslo(slos)
    assert read_text(once, "once.yaml").check() == slos
    assert as_openslo(read_text(once, "once.yaml").slos) == once


def test_alert_with_two_windows_is_written_as_two_policies_and_read_as_one_alert() -> None:
    text = (DATA / "openslo_budgeting-method_ratio-timeslices.yaml").read_text()
    (one,) = read_text(text, "main.yaml").slos.objectives
    slos = SloSet.of([replace(one, alerts=(Alert("fast", Decimal("14.4"), 3_600, 300),))])
    written = as_openslo(slos)
    assert re.findall(r"lookbackWindow: (\S+)", written) == ["1h", "5m"]
    assert read_text(written, "x.yaml").slos == slos
    (loss,) = openslo_losses(slos)
    assert "alert on each window alone, so more often" in str(loss)


def test_query_that_looks_like_yaml_stays_a_text() -> None:
    (one,) = read_files([DATA / "openslo_budgeting-method_ratio-timeslices.yaml"]).slos.objectives
    query = Query(type="Prometheus", spec_json='{"query":"sum(rate(x{a=\\"b: #c\\"}[5m]))\\n# no"}')
    slos = SloSet.of([replace(one, indicator=RatioIndicator(query, query))])
    assert read_text(as_openslo(slos), "x.yaml").slos == slos
