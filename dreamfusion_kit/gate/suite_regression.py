"""The tests that the pytest plugin adds; collected only if its options ask for them."""

from pathlib import Path

import pytest
from pytest_regressions.image_regression import ImageRegressionFixture
from pytest_regressions.num_regression import NumericRegressionFixture

from dreamfusion_kit.gate.metrics import AssetRow
from dreamfusion_kit.gate.suite_plan import PLAN, Plan, metric_file

_DEVIATIONS = 2.0  # of the measured spread between seeds, before a number counts as moved
_PIXELS = 0.1  # mean difference of pixels allowed, in percent; a mirrored texture gives 0.3 to 4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each case."""
    plan = metafunc.config.stash[PLAN]
    if "metric" in metafunc.fixturenames:
        metrics = [pytest.param(*case, id="-".join(case)) for case in plan.metric_cases]
        metafunc.parametrize(("asset", "metric"), metrics)
    elif "view" in metafunc.fixturenames:
        views = [pytest.param(a, view, id=f"{a}-{view:02d}") for a, view in plan.view_cases]
        metafunc.parametrize(("asset", "view"), views)


@pytest.fixture
def plan(pytestconfig: pytest.Config) -> Plan:
    """Return what is compared."""
    return pytestconfig.stash[PLAN]


@pytest.fixture
def original_datadir(plan: Plan, asset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the asset's folder of expected files; pytest-regressions looks for it by name."""
    if plan.baseline is None:
        return plan.stored / asset
    row = plan.baseline.assets[asset]
    folder = tmp_path_factory.mktemp("baseline")
    for key in plan.gate.metrics:
        value = row.value(key)
        if value is not None:
            (folder / f"{metric_file(key)}.csv").write_text(f",value\n0,{value!r}\n")
    for view, cosine in enumerate(row.cosines):
        (folder / f"view_{view:02d}.csv").write_text(f",cosine\n0,{cosine!r}\n")
    return folder


def test_metric(
    plan: Plan, asset: str, metric: str, num_regression: NumericRegressionFixture
) -> None:
    """One metric of one asset has not moved, up or down, by more than seeds move it."""
    row = plan.current.assets.get(asset)
    value = None if row is None else row.value(metric)
    if value is None:
        missing = "the suite has no such asset" if row is None else "it is not measured"
        pytest.fail(f"{asset}: {metric}: {missing}, but the baseline has it", pytrace=False)
    limit = {"atol": _DEVIATIONS * plan.gate.metrics[metric].spread, "rtol": 0.0}
    num_regression.check({"value": [value]}, basename=metric_file(metric), default_tolerance=limit)


def test_view(plan: Plan, asset: str, view: int, request: pytest.FixtureRequest) -> None:
    """One key view: its picture or, against earlier metrics, its cosine with the caption."""
    if plan.baseline is not None:
        numbers: NumericRegressionFixture = request.getfixturevalue("num_regression")
        _check_cosine(plan, plan.current.assets[asset], view, numbers)
        return
    picture = plan.picture(asset, view)
    if picture is None:
        pytest.fail(f"{asset}: found no picture of view {view}; run `dvc pull`", pytrace=False)
    images: ImageRegressionFixture = request.getfixturevalue("image_regression")
    images.check(picture.read_bytes(), diff_threshold=_PIXELS, basename=f"view_{view:02d}")


def _check_cosine(
    plan: Plan, row: AssetRow, view: int, num_regression: NumericRegressionFixture
) -> None:
    if view >= len(row.cosines):
        pytest.fail(f"view {view}: found no cosine, expected one per view", pytrace=False)
    limit = {"atol": _DEVIATIONS * plan.gate.view_cosine_spread, "rtol": 0.0}
    num_regression.check(
        {"cosine": [row.cosines[view]]}, basename=f"view_{view:02d}", default_tolerance=limit
    )
