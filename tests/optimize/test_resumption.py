"""Runs that were stopped or killed end in the bytes of a whole run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.loop import OptimizedModel
from dreamfusion_kit.optimize.metrics import METRIC_NAMES
from dreamfusion_kit.optimize.shares import NORM_NAMES
from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.recipe.schema import Recipe

from .loop_run import CHECKPOINT_EVERY, NUM_STEPS, ROOT, Silent, assert_same, changed, of_kind, run


def test_views_that_grow_during_the_run_resume_to_the_same_bits(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = changed(
        recipe,
        camera={"image_size_px": {"sizes": ((0, 4), (3, 8))}},
        optimize={"num_steps": 6, "checkpoint_every_steps": 2},
    )
    seen: list[int] = []
    to_model_space = AnalyticPrior.to_model_space

    def watch(prior: AnalyticPrior, images: torch.Tensor) -> torch.Tensor:
        seen.append(images.shape[-1])
        return to_model_space(prior, images)

    monkeypatch.setattr(AnalyticPrior, "to_model_space", watch)
    whole = run(growing, make_scratch("whole"))
    assert seen == [4, 4, 4, 8, 8, 8]
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(growing, stopped, Silent(stop_at=5))
    assert_same(run(growing, stopped), whole)


@pytest.mark.parametrize("stops", [(3,), (5,), (6, 7), (12, 23), (23, 24)])
def test_a_stopped_run_ends_in_the_same_bits(
    recipe: Recipe,
    make_scratch: Callable[[str], Scratch],
    uninterrupted: OptimizedModel,
    stops: tuple[int, ...],
) -> None:
    scratch = make_scratch("stopped")
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, scratch, Silent(stop_at=stop))
    monitor = Silent()
    assert_same(run(recipe, scratch, monitor), uninterrupted)
    # The checkpoint comes after the monitor's call, so stopping there loses it.
    expected_start = (stops[-1] - 1) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
    assert monitor.started_at == expected_start
    assert monitor.steps == list(range(expected_start, NUM_STEPS))
    assert monitor.finished


def test_a_finished_run_is_not_run_again(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    scratch = make_scratch("finished")
    first = run(recipe, scratch)
    monitor = Silent()
    second = run(recipe, scratch, monitor)
    assert monitor.steps == []
    assert_same(second, uninterrupted)
    assert second.seconds >= first.seconds * 0.5  # the time of the first run is not forgotten


def test_a_damaged_checkpoint_falls_back_and_says_so(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    scratch = make_scratch("damaged")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, scratch, Silent(stop_at=12))
    newest = sorted(scratch.checkpoints.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    monitor = Silent()
    assert_same(run(recipe, scratch, monitor), uninterrupted)
    assert monitor.started_at == 5
    (note,) = monitor.notes
    assert note.startswith("step_00000010.safetensors: damaged")


def test_a_checkpoint_of_other_inputs_is_not_used(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    scratch = make_scratch("other")
    run(recipe, Scratch(scratch.directory, "1" * 64), seed=1)
    monitor = Silent()
    assert_same(run(recipe, scratch, monitor), uninterrupted)
    assert monitor.started_at == 0
    assert all("belongs to other inputs" in note for note in monitor.notes)
    assert monitor.notes


def test_a_checkpoint_of_other_code_is_refused_in_words(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    scratch = make_scratch("code")
    run(recipe, scratch)
    resolution = recipe.field.resolution + 1  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"does not fit this run .*remove its scratch"):
        run(changed(recipe, field={"resolution": resolution}), scratch)


def test_previews_are_the_same_bytes_after_a_stop(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    run(recipe, whole)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, stopped, Silent(stop_at=13))
    run(recipe, stopped)
    pictures = [
        {path.name: path.read_bytes() for path in sorted(scratch.previews.iterdir())}
        for scratch in (whole, stopped)
    ]
    assert list(pictures[0]) == ["step_000010.png", "step_000020.png", "step_000024.png"]
    assert pictures[0] == pictures[1]


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["sds", "vsd"])
def test_killed_at_random_moments_the_bytes_are_those_of_a_whole_run(
    recipe: Recipe, tmp_path: Path, kind: str
) -> None:
    recipe = recipe if kind == "sds" else of_kind(recipe, kind)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    harness = Path(__file__).with_name("kill_harness.py")
    finished = subprocess.run(
        [sys.executable, str(harness), str(tmp_path / "recipe.json"), str(tmp_path), "6"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("killed after step") == 6
    assert "resumed at step 0" not in finished.stdout
    whole, killed = files(tmp_path / "whole"), files(tmp_path / "killed")
    results = [name for name in whole if "checkpoints" not in name and not name.endswith("lock")]
    assert {Path(name).suffix for name in results} == {".safetensors", ".png", ".tsv", ".json"}
    assert [name for name in results if whole[name] != killed[name]] == []
    assert killed.keys() == whole.keys()


def test_a_checkpoint_holds_the_history_and_no_learning_rate(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    scratch = make_scratch("contents")
    run(recipe, scratch)
    tensors = load_file(sorted(scratch.checkpoints.iterdir())[-1])
    assert tensors["history"].shape == (NUM_STEPS, len(METRIC_NAMES) + len(NORM_NAMES))
    assert {name.split("/")[0] for name in tensors} == {
        "field",
        "history",
        "occupancy",
        "optimizer",
        "trace",
    }
