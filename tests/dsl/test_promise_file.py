"""`openslo(...)` in a scenario: objectives from a file of promises, on the command line and from a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.bundle import pack, unpack
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.objectives import promise_file
from loadgen.errors import ScenarioError
from loadgen.programme.promises.for_scenarios import packed_promises

SCENARIO = """from loadgen import Plan, User, arrivals, journey, openslo

@journey
async def checkout(user: User) -> None:
    await user.http.get("/")

plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("10/s").hold("5m"),
    mix={checkout: 1},
    slos=[*CALL],
)
"""
FILE = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-fast
  annotations: {loadgen.dev/journey: checkout, loadgen.dev/threshold: 300ms}
spec: &spec
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.995}]
  indicator: {spec: {ratioMetric: {good: {metricSource: {type: X}}, total: {metricSource: {type: X}}}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: errors}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.9993}]
  indicator: {spec: {ratioMetric: {bad: {metricSource: {type: X}}, total: {metricSource: {type: X}}}}}
"""


@pytest.fixture(autouse=True)
def _reader() -> Iterator[None]:
    before = list(promise_file._readers)
    promise_file.read_promises_by(packed_promises)
    yield
    promise_file._readers[:] = before


def loaded(folder: Path, call: str = 'openslo("slos/shop.yaml", tighten=0.8)', text: str = FILE) -> Scenario:
    (folder / "slos").mkdir(exist_ok=True)
    (folder / "slos/shop.yaml").write_text(text)
    (folder / "shop.py").write_text(SCENARIO.replace("CALL", call))
    return load(folder / "shop.py")


def faults(folder: Path, call: str = 'openslo("slos/shop.yaml")', text: str = FILE) -> str:
    with pytest.raises(ScenarioError) as caught:
        loaded(folder, call, text)
    return str(caught.value)


def test_promises_become_objectives_with_a_tightened_threshold_and_their_revision(tmp_path: Path) -> None:
    first, second = (slo.objective for slo in loaded(tmp_path).plan.slos)
    assert first is not None
    assert second is not None
    assert (first.kind, first.q, first.limit, first.journey) == ("percentile", 99.5, 240_000_000, "checkout")
    assert (second.kind, second.limit, second.journey) == ("error_ratio", 0.0007, None)
    revision = packed_promises(tmp_path / "slos/shop.yaml").revision
    assert first.text == f'p(99.5, journey="checkout") < 240ms (slos/shop.yaml {revision})'


def test_agents_get_the_parsed_promises_and_need_no_reader(tmp_path: Path) -> None:
    scenario = loaded(tmp_path)
    bundle = pack(scenario)
    unpack(bundle.data, bundle.sha256, tmp_path / "agent")
    assert (tmp_path / "agent/slos/shop.yaml").read_bytes().startswith(b'{"loadgen_promises":1')
    promise_file._readers.clear()
    again = load(tmp_path / "agent/shop.py")
    assert again.plan.spec().slos == scenario.plan.spec().slos
    assert pack(again).sha256 == bundle.sha256


def test_only_chooses_promises(tmp_path: Path) -> None:
    (slo,) = loaded(tmp_path, 'openslo("slos/shop.yaml", only=["errors"])').plan.slos
    assert slo.text.startswith("error_ratio() < 0.07%")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('openslo("slos/none.yaml")', "cannot be read"),
        ("openslo(5)", "is not a path"),
        ('openslo("slos/shop.yaml", tighten=1.5)', "must be above 0 and at most 1"),
        ('openslo("slos/shop.yaml", only=["error"])', 'did you mean "errors"'),
    ],
)
def test_wrong_calls_are_faults_at_their_line(tmp_path: Path, call: str, message: str) -> None:
    found = faults(tmp_path, call)
    assert message in found
    assert "shop.py:11" in found


def test_faults_of_the_file_are_shown_with_its_lines(tmp_path: Path) -> None:
    found = faults(tmp_path, text=FILE.replace("0.995", "99.5").replace("0.9993", "1"))
    assert "shop.yaml:10" in found
    assert "shop.yaml:20" in found


def test_promise_of_slices_is_a_fault_and_only_leaves_it_out(tmp_path: Path) -> None:
    text = FILE.replace("Occurrences", "RatioTimeslices", 1).replace(
        "{target: 0.995}", "{target: 0.995, timeSliceWindow: 5m}"
    )
    assert "counts slices (RatioTimeslices)" in faults(tmp_path, text=text)
    assert len(loaded(tmp_path, 'openslo("slos/shop.yaml", only=["errors"])', text).plan.slos) == 1


def test_without_the_command_line_the_file_is_not_read(tmp_path: Path) -> None:
    promise_file._readers.clear()
    assert "only the command line reads files of promises" in faults(tmp_path)


def test_damaged_promises_of_a_bundle_are_a_fault(tmp_path: Path) -> None:
    assert "damaged promises" in faults(tmp_path, text='{"loadgen_promises":1,"x')
