"""What is recorded while digests stay, and not once they change."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites.commit import Commit

from .conftest import SUITE, make_workspace

LOG = Path("dvc.log")


class Records:
    """A crew that notes what it is asked to record."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], Sequence[str], Path]] = []

    def record(self, assets: Sequence[str], targets: Sequence[str], log: Path) -> None:
        self.asked.append((assets, targets, log))


def test_only_digests_of_the_assets_at_hand_count(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace", {"ball": "a ball", "cube": "a cube"})
    crew = Records()
    commit = Commit(made.path, load_suite(made.path, SUITE), crew, LOG)  # type: ignore[arg-type]
    commit(["ball"], ["assets/ball/dvc.yaml:embed"])
    assert crew.asked == [(["ball"], ["assets/ball/dvc.yaml:embed"], LOG)]

    own = made.suite / "assets" / "cube" / "kit.json"
    own.write_bytes(own.read_bytes() + b" ")
    commit(["ball"], ["assets/ball/dvc.yaml:mesh"])
    with pytest.raises(SuiteError, match=r"assets/cube/kit\.json: changed while the suite"):
        commit(["ball", "cube"], ["assets/cube/dvc.yaml:embed"])
    assert len(crew.asked) == 2


def test_digests_that_the_suite_shares_count_for_each_asset(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace", {"ball": "a ball"})
    crew = Records()
    commit = Commit(made.path, load_suite(made.path, SUITE), crew, LOG)  # type: ignore[arg-type]
    (made.suite / "kit.json").unlink()
    with pytest.raises(SuiteError, match=r"tiny/kit\.json: changed while the suite"):
        commit(["ball"], ["assets/ball/dvc.yaml:embed"])
    assert crew.asked == []
