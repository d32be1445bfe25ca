"""A pytest plugin: one test per asset and metric, and per asset and key view.

    pytest --dreamfusion-suite NAME                           against regression/NAME/
    pytest --dreamfusion-suite NAME --dreamfusion-baseline REV|FILE
                                                              against earlier metrics

Without its options it does nothing and imports nothing: it is loaded into every pytest run
where the kit is installed. The tests themselves are in `suite_regression`.
"""

from pathlib import Path

import pytest

_TESTS = Path(__file__).with_name("suite_regression.py")
_REGRESSIONS = "regressions"  # the name that pytest-regressions registers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("dreamfusion-kit")
    group.addoption(
        "--dreamfusion-suite",
        metavar="NAME",
        help="Test the metrics and key views of this suite of the workspace (the current folder).",
    )
    group.addoption(
        "--dreamfusion-baseline",
        metavar="REV|FILE",
        help="Compare with the suite's metrics at a Git revision or in a .json file, instead of "
        "with the numbers and pictures stored in regression/NAME/.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read what is compared, and add the tests to what pytest collects."""
    suite: str | None = config.getoption("--dreamfusion-suite")
    baseline: str | None = config.getoption("--dreamfusion-baseline")
    if suite is None:
        if baseline is not None:
            raise pytest.UsageError("--dreamfusion-baseline: expected --dreamfusion-suite with it")
        return
    if not config.pluginmanager.has_plugin(_REGRESSIONS):
        raise pytest.UsageError(
            "--dreamfusion-suite: found no pytest-regressions; pip install 'dreamfusion-kit[gate]'"
        )
    if baseline is not None and (config.getoption("force_regen") or config.getoption("regen_all")):
        raise pytest.UsageError(
            "--dreamfusion-baseline: earlier metrics cannot be regenerated; leave it out to "
            "regenerate regression/, or compare with another revision"
        )
    _plan(config, suite, baseline)
    module = str(_TESTS)
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [module]  # not the tests of the surrounding project
    elif module not in config.args:  # an xdist worker receives the controller's list
        config.args.append(module)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Name our tests after the suite, not after the folder that the kit is installed in."""
    suite: str | None = parent.config.getoption("--dreamfusion-suite")
    if suite is None or module_path != _TESTS:
        return None
    return pytest.Module.from_parent(parent, path=module_path, nodeid=f"regression/{suite}")


def _plan(config: pytest.Config, suite: str, baseline: str | None) -> None:
    # Only now: these import numpy and pydantic.
    from dreamfusion_kit.errors import DreamFusionKitError
    from dreamfusion_kit.gate.suite_plan import PLAN, plan

    try:
        config.stash[PLAN] = plan(Path.cwd(), suite, baseline)
    except DreamFusionKitError as error:
        raise pytest.UsageError(str(error)) from None
