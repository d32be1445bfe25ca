"""The script `benchmarks/toybox_training.py` on tiny models."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(benchmark_program: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_program("toybox_training")


def test_every_model_has_a_rate_and_a_bound(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "numbers" / "training.json"
    script.main(["--tiny", "--threads", "1", "--steps", "2", "--json", str(path)])
    results = json.loads(path.read_text())["results"]
    assert [result["model"] for result in results] == ["prior", "vae", "latent"]
    for result in results:
        assert result["images_per_s"] > 0
        assert (result["batch_s"] > 0) == (result["model"] != "latent")
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["prior", "vae", "latent"]


@pytest.mark.parametrize(
    ("shelf_s", "batch_s", "expected", "rate"),
    [(64.0, 0.1, "renders", 512 / 1.5), (3.2, 0.1, "the network", 512 / 0.55),
     (3.2, 0.4, "batches", 512 / 0.55)],
)  # fmt: skip
def test_the_bound_is_what_takes_most_of_a_step(
    script: ModuleType, shelf_s: float, batch_s: float, expected: str, rate: float
) -> None:
    result = script.Result("prior", 512, 20000, 64, 1.0, shelf_s, batch_s, 0.5, None)
    assert result.bound == expected
    assert result.images_per_s == pytest.approx(rate)
