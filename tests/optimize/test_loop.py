"""The loop on the analytic prior: it repeats, it resumes, it stops, it finds the data."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from dreamfusion_kit import packaged
from dreamfusion_kit.camera.light import albedo_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import CheckpointError, NumericsError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch
from dreamfusion_kit.optimize.loop import OptimizedModel, optimize
from dreamfusion_kit.optimize.metrics import METRIC_NAMES, StepMetrics
from dreamfusion_kit.optimize.monitor import CurveMonitor
from dreamfusion_kit.optimize.shares import NORM_NAMES
from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import GuidanceSection, Recipe

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NUM_STEPS = 24
CHECKPOINT_EVERY = 5


class Silent:
    """A monitor that keeps what it hears; `stop_at` raises after that many steps."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.started_at: int | None = None
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.finished = False

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        self.started_at = len(history)

    def step(self, step: int, metrics: StepMetrics) -> None:
        self.steps.append(step)
        if step + 1 == self.stop_at:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the shipped analytic recipe, made shorter, every branch of the loop kept."""
    shipped = load_recipe(ROOT / "recipes" / "analytic.yaml")
    return changed(
        shipped,
        optimize={
            "num_steps": NUM_STEPS,
            "batch_size": 2,
            "checkpoint_every_steps": CHECKPOINT_EVERY,
            "preview_every_steps": 10,
            "max_gradient_norm": 100.0,
        },
    )


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    """Return the recipe with some keys of some sections replaced."""
    data = recipe.model_dump(mode="python")
    for name, keys in sections.items():
        data[name] |= keys
    return Recipe.model_validate(data)


def run(
    recipe: Recipe,
    scratch: Scratch,
    monitor: Any = None,
    *,
    seed: int = 0,
    prior: Prior | None = None,
) -> OptimizedModel:
    prompts = guidance_prompts("a red mug", recipe.guidance)
    prior = prior or build_prior(recipe.prior, None, CPU)
    return optimize(
        recipe,
        seed=seed,
        prior=prior,
        text=prior.encode_text(list(prompts.values())),
        prompts=prompts,
        scratch=scratch,
        device=CPU,
        monitor=monitor or Silent(),
    )


@pytest.fixture(scope="module")
def uninterrupted(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> OptimizedModel:
    with open_scratch(tmp_path_factory.mktemp("whole"), "0" * 64) as scratch:
        return run(recipe, scratch)


def assert_same(found: OptimizedModel, expected: OptimizedModel) -> None:
    states = found.model.state_dict(), expected.model.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    assert found.history == expected.history


def test_the_same_seed_gives_the_same_bits(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    assert_same(run(recipe, make_scratch("again")), uninterrupted)


def test_another_seed_gives_another_field(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    other = run(recipe, make_scratch("other"), seed=1)
    assert other.history != uninterrupted.history


# What a kind has beside the keys of sds, and the images it asks the prior for per view.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "sjc": ({"variance_reduction": False}, 2),
    "csd": ({"negative_weight": {"start": 1.0, "end": 0.0, "from_step": 0, "to_step": 10}}, 0),
    "vsd": (
        {
            "phi": {
                "source": None,
                "rank": 1,
                "learning_rate": 0.01,
                "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
                "steps": 2,
                "loss": "epsilon",
                "text": "view",
                "timestep_min": 0.02,
                "timestep_max": 0.98,
                "camera_dropout": 0.1,
            }
        },
        2,
    ),
    "ism": ({"interval": 0.05, "inversion_stride": 0.2}, 0),
    "sdi": ({"inversion_scale": -7.5, "inversion_stride": 0.2, "inversion_noise": 0.3}, 0),
    "rfds_rev": ({}, 0),
}


def of_kind(recipe: Recipe, kind: str) -> Recipe:
    data = recipe.guidance.model_dump(mode="python") | {"kind": kind, **KINDS[kind][0]}
    # Past the check that csd has a prior that reads text: these tests' prior tints by it.
    guidance = TypeAdapter(GuidanceSection).validate_python(data)
    return recipe.model_copy(update={"guidance": guidance})


@pytest.mark.parametrize("kind", KINDS)
def test_every_guidance_resumes_to_the_bit(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], kind: str
) -> None:
    twelve = changed(recipe, optimize={"num_steps": 12, "checkpoint_every_steps": 4})
    short = of_kind(twelve, kind)
    prior = counting(short, tint=0.01)
    whole = run(short, make_scratch("whole"), prior=prior)
    assert all(metrics.guidance_norm > 0 for metrics in whole.history)
    if KINDS[kind][1]:
        assert prior.batches == [2 * KINDS[kind][1]] * 12
    stopped = make_scratch("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(short, stopped, Silent(stop_at=7), prior=counting(short, tint=0.01))
    assert_same(run(short, stopped, prior=counting(short, tint=0.01)), whole)
    newest = [sorted(s.checkpoints.iterdir())[-1] for s in (stopped, make_scratch("whole"))]
    states = [load_file(path) for path in newest]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    has_own_state = any(name.startswith("guidance/phi/") for name in states[0])
    assert has_own_state == (kind == "vsd")


def test_several_fields_under_one_phi_resume_to_the_bit(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    data = of_kind(recipe, "vsd").model_dump(mode="python")
    data["field"] = {"kind": "particles", "count": 2, "particle": data["field"]}
    data["optimize"] |= {"num_steps": 10, "checkpoint_every_steps": 4}
    section = Recipe.model_validate(data)
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(section, whole)
    for stop in (6, 9):
        with pytest.raises(KeyboardInterrupt):
            run(section, stopped, Silent(stop_at=stop))
    assert_same(run(section, stopped), expected)
    last, before = (
        load_file(whole.checkpoints / f"step_{step:08d}.safetensors") for step in (10, 8)
    )
    resumed = load_file(stopped.checkpoints / "step_00000010.safetensors")
    assert last.keys() == resumed.keys()
    assert all(torch.equal(last[name], resumed[name]) for name in last)
    moved = {name for name in last if not torch.equal(last[name], before[name])}
    assert {f"field/fields.{index}.density" for index in (0, 1)} <= moved
    assert any(name.startswith("guidance/phi/") for name in moved)
    assert not torch.equal(last["field/fields.0.density"], last["field/fields.1.density"])
    # Each field's optimiser has taken the steps of its own turns; phi's has taken all.
    own = [int(last[f"optimizer/{index}/step"]) for index in range(4)]
    assert own == [5, 5, 5, 5]
    of_phi = [name for name in last if name.startswith("guidance/optimizer/")]
    assert {int(last[name]) for name in of_phi if name.endswith("/step")} == {
        20
    }  # two of phi's per step


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


class Counting(Prior):
    """The analytic prior, which counts its calls and can be made to fail."""

    def __init__(
        self, inner: AnalyticPrior, *, break_at: int | None = None, tint: float = 0.0
    ) -> None:
        self.inner = inner
        self.schedule = inner.schedule
        self.break_at = break_at
        self.tint = tint  # how much a text's length moves every number of the noise
        self.batches: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        lengths = [float(len(prompt)) for prompt in prompts]
        return TextFeatures({"length": torch.tensor(lengths)[:, None]})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner.to_model_space(images)

    def adapter(self, rank: int, *, generator: torch.Generator) -> Adapter:
        return self.inner.adapter(rank, generator=generator)

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        assert not noisy.requires_grad
        self.batches.append(len(noisy))
        if len(self.batches) - 1 == self.break_at:
            return torch.full_like(noisy, torch.nan)
        shift = self.tint * text.tensors["length"].reshape(-1, 1, 1, 1)
        return self.inner.predict(noisy, timestep, text) + shift


def counting(recipe: Recipe, *, break_at: int | None = None, tint: float = 0.0) -> Counting:
    inner = build_prior(recipe.prior, None, CPU)
    assert isinstance(inner, AnalyticPrior)
    return Counting(inner, break_at=break_at, tint=tint)


def test_the_prior_is_asked_once_per_step(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    prior = counting(recipe)
    run(recipe, make_scratch("counted"), prior=prior)
    assert prior.batches == [4] * NUM_STEPS  # two views, with and without the text


def test_a_gradient_that_is_not_finite_never_reaches_the_field(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    scratch = make_scratch("broken")
    with pytest.raises(NumericsError, match=r"step 7: the gradient is not finite"):
        run(recipe, scratch, prior=counting(recipe, break_at=7))
    assert_same(run(recipe, scratch), uninterrupted)  # the checkpoint at 5 is sound


@pytest.mark.parametrize(
    ("section", "key", "advice"),
    [
        ("light", "distance_range", "lower light.distance_range"),
        ("camera", "radius_range", "lower camera.radius_range"),
    ],
)
def test_an_absurd_distance_is_named_and_not_the_prior(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], section: str, key: str, advice: str
) -> None:
    shaded = changed(recipe, shading={"albedo_only_steps": 0, "shaded_probability": 1.0})
    absurd = getattr(shaded, section).model_copy(update={key: (1e39, 1e39)})
    with pytest.raises(NumericsError, match=rf"^step 0: the gradient is not finite .*{advice}"):
        run(shaded.model_copy(update={section: absurd}), make_scratch("absurd"))


def test_the_watchdog_stops_a_run_without_an_object(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    watchdog = {"check_every_steps": 2, "after_step": 4, "min_opacity": 0.98, "max_opacity": 1.0}
    strict = changed(recipe, optimize={"watchdog": watchdog})
    with pytest.raises(NumericsError, match=r"step 4: mean opacity .* nothing is visible"):
        run(strict, make_scratch("dead"))


def test_the_field_takes_the_colour_of_the_data(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """All images of this prior are of one colour, and so must the views become."""
    color = (0.9, 0.2, 0.1)
    components = ({"weight": 1.0, "mean_color": color, "std": 0.05},)
    penalties = dict.fromkeys(recipe.optimize.penalties.model_dump(), 0.0)
    single = changed(
        recipe,
        prior={"components": components},
        shading={"albedo_only_steps": 1000},
        optimize={"num_steps": 80, "penalties": penalties, "preview_every_steps": 80},
    )
    result = run(single, make_scratch("colour"), CurveMonitor(make_scratch("live").live))
    cameras = orbit_cameras(
        torch.tensor([10.0, 100.0, 250.0]),
        elevation_deg=15.0,
        radius=2.2,
        fov_y_deg=20.0,  # the middle of the object
        image_size_px=8,
    )
    with torch.no_grad():
        output = result.model.eval().render(
            pixel_rays(cameras), albedo_lighting(cameras), torch.zeros(3, 8, 8, 3)
        )
    assert output.opacity.mean() > 0.9
    found = output.image.mean(dim=(0, 1, 2))
    torch.testing.assert_close(found, torch.tensor(color), atol=0.08, rtol=0)


@pytest.fixture(scope="module")
def published(recipe: Recipe) -> Recipe:
    """Return the short recipe with the paper's kind of field, background and optimiser."""
    shared = ("bounding_radius", "density_activation", "density_bias", "density_offset")
    field = {
        "kind": "mip_mlp",
        "num_blocks": 1,
        "hidden_width": 8,
        "num_frequencies": 4,
        "covariance": {"start": 0.05, "end": 0.002, "from_step": 0, "to_step": 8},
        "space": "ball",
        "learning_rate": 0.01,
    }
    background = {
        "kind": "mlp",
        "num_frequencies": 2,
        "hidden_width": 4,
        "num_hidden_layers": 1,
        "learning_rate": 0.01,
    }
    data = recipe.model_dump(mode="python")
    data["field"] = {key: data["field"][key] for key in shared} | field
    data["background"] = background
    optimizer = {
        "kind": "distributed_shampoo",
        "betas": (0.9, 0.9),
        "exponent_override": 2,
        "block_size": 4,
        "graft": "sqrt_n",
        "epsilon": 1e-6,
        "start_step": 3,
        "preconditioner_every_steps": 2,
        "nesterov": True,
    }
    changes = {"num_steps": 12, "preview_every_steps": 12, "optimizer": optimizer}
    data["optimize"] |= changes
    return Recipe.model_validate(data)


def test_the_papers_parts_move_and_resume_to_the_same_bits(
    published: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(published, whole)
    with pytest.raises(KeyboardInterrupt):
        run(published, stopped, Silent(stop_at=8))
    found = run(published, stopped)
    assert_same(found, expected)
    state = found.model.background.state_dict()
    assert state
    last = "step_00000012.safetensors"
    assert (whole.checkpoints / last).stat().st_size == (stopped.checkpoints / last).stat().st_size
    saved = load_file(stopped.checkpoints / last)
    first = load_file(stopped.checkpoints / "step_00000010.safetensors")
    assert all(torch.equal(saved[f"background/{name}"], state[name]) for name in state)
    assert any(not torch.equal(saved[name], first[name]) for name in saved if "background" in name)


def test_a_scene_without_an_end_is_optimised(
    published: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """Cones through contracted space, samples behind the sphere, the distortion's penalty."""
    scene = changed(
        published,
        field={"space": "contracted"},
        camera={"radius_range": (0.5, 0.8)},
        renderer={
            "jitter": False,
            "footprint": "cone",
            "beyond": {"num_samples": 8, "far": 20.0, "proposal": None},
        },
        optimize={
            "num_steps": 4,
            "penalties": published.optimize.penalties.model_dump() | {"distortion_lambda": 1.0},
        },
    )
    result = run(scene, make_scratch("scene"))
    assert len(result.history) == 4
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
    without = changed(
        scene,
        optimize={"penalties": scene.optimize.penalties.model_dump() | {"distortion_lambda": 0.0}},
    )
    other = run(without, make_scratch("without"))
    assert other.history[0].regularization < result.history[0].regularization


def test_measuring_shares_leaves_the_run_as_it_is(
    recipe: Recipe, make_scratch: Callable[[str], Scratch], uninterrupted: OptimizedModel
) -> None:
    watchdog = recipe.optimize.watchdog.model_dump()
    rarely = changed(recipe, optimize={"watchdog": watchdog | {"check_every_steps": 10**6}})
    unmeasured = run(rarely, make_scratch("unmeasured"))
    assert [m.norms is not None for m in unmeasured.history] == [True] + [False] * (NUM_STEPS - 1)
    assert [m.norms is not None for m in uninterrupted.history] == [True, False] * (NUM_STEPS // 2)
    expected = uninterrupted.model.state_dict()
    for name, tensor in unmeasured.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    numbers = [[m.numbers for m in r.history] for r in (unmeasured, uninterrupted)]
    assert numbers[0] == numbers[1]


def test_a_penalty_out_of_proportion_is_noted_once(
    recipe: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """The fault of before: a penalty's mean over rays beside a guidance summed over pixels."""
    penalties = recipe.optimize.penalties.model_dump()
    weak = {"opacity_lambda": penalties["opacity_lambda"] / 256 / 16, "smoothness_lambda": 100.0}
    monitor = Silent()
    run(changed(recipe, optimize={"penalties": penalties | weak}), make_scratch("odd"), monitor)
    terms = [(note.split()[3], note.split("; ")[1].split()[0]) for note in monitor.notes]
    assert sorted(terms) == [("opacity", "raise"), ("smoothness", "lower")]
    monitor = Silent()
    run(recipe, make_scratch("even"), monitor)
    assert monitor.notes == []


@pytest.fixture(scope="module")
def scene(recipe: Recipe) -> Recipe:
    """Return the shipped unbounded scene, made tiny, on the analytic prior."""
    data = load_recipe(ROOT / "recipes" / "mip-nerf-360-scene.yaml").model_dump(mode="python")
    data["prior"] = recipe.prior.model_dump(mode="python")
    data["camera"]["image_size_px"] = 8
    data["prior"]["image_size_px"] = 8
    data["field"] |= {"num_blocks": 1, "hidden_width": 8, "num_frequencies": 4}
    data["renderer"]["num_samples"] = 12
    data["renderer"]["beyond"]["num_samples"] = 6
    data["renderer"]["beyond"]["proposal"] |= {
        "num_blocks": 1,
        "hidden_width": 4,
        "num_samples": 8,
        "weight_exponent": {"start": 0.0, "end": 1.0, "from_step": 0, "to_step": 4},
        "learning_rate": 0.01,
    }
    data["renderer"]["occupancy"] |= {"resolution": 8, "warmup_steps": 2, "update_every_steps": 2}
    data["shading"]["albedo_only_steps"] = 3
    data["optimize"] |= {
        "num_steps": 8,
        "batch_size": 1,
        "checkpoint_every_steps": 3,
        "preview_every_steps": 4,
        "learning_rate_decay": recipe.optimize.learning_rate_decay.model_dump(mode="python"),
    }
    return Recipe.model_validate(data)


def test_a_scene_with_a_proposal_network_resumes_to_the_same_bits(
    scene: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    whole, stopped = make_scratch("whole"), make_scratch("stopped")
    expected = run(scene, whole)
    for stop in (2, 5, 8):
        with pytest.raises(KeyboardInterrupt):
            run(scene, stopped, Silent(stop_at=stop))
    found = run(scene, stopped)
    assert_same(found, expected)
    assert found.model.proposal is not None
    last = "step_00000008.safetensors"
    saved, expected_last = (load_file(s.checkpoints / last) for s in (stopped, whole))
    assert saved.keys() == expected_last.keys()
    assert all(torch.equal(saved[name], expected_last[name]) for name in saved)
    first = load_file(stopped.checkpoints / "step_00000006.safetensors")
    moved = {name for name in saved if not torch.equal(saved[name], first[name])}
    assert {"proposal/network.last.weight", "field/network.last.weight"} <= moved
    previews = [{p.name: p.read_bytes() for p in s.previews.iterdir()} for s in (whole, stopped)]
    assert previews[0] == previews[1]


def test_a_proposal_network_that_misses_is_drawn_to_the_field(
    scene: Recipe, make_scratch: Callable[[str], Scratch]
) -> None:
    """With no other penalty, what is left of the regularisation is its own loss, and falls."""
    penalties = dict.fromkeys(scene.optimize.penalties.model_dump(), 0.0)
    data = scene.model_dump(mode="python")
    data["optimize"] |= {
        "num_steps": 60,
        "penalties": penalties,
        "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
    }
    data["field"]["learning_rate"] = 1e-9  # a field that stays
    data["field"]["density_offset"] = 1.0
    result = run(Recipe.model_validate(data), make_scratch("alone"))
    losses = [metrics.regularization for metrics in result.history]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


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


FIELDS = {
    "voxel_grid": "toybox",
    "hash_grid": "toybox-hash",
    "mip_mlp": "dreamfusion-toybox",
}
SHAMPOO = {
    "kind": "distributed_shampoo",
    "betas": (0.9, 0.9),
    "exponent_override": 2,
    "block_size": 128,
    "graft": "sqrt_n",
    "epsilon": 1e-6,
    "start_step": 2,
    "preconditioner_every_steps": 1,
    "nesterov": False,
}


@pytest.mark.parametrize("optimizer", ["adam", "distributed_shampoo"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_under_every_optimiser_repeats_at_its_real_width(
    recipe: Recipe,
    make_scratch: Callable[[str], Scratch],
    no_global_draws: Callable[[], AbstractContextManager[None]],
    field: str,
    optimizer: str,
) -> None:
    """Global seeds differ, one run resumes twice, and no global generator is drawn from."""
    section = load_recipe(ROOT / "recipes" / f"{FIELDS[field]}.yaml").field.model_dump(
        mode="python"
    )
    if field == "voxel_grid":
        section["resolution"] = 24  # its grids are cut into blocks; 64 costs Shampoo minutes
    if field == "hash_grid":
        section["log2_table_size"] = 6
    data = recipe.model_dump(mode="python") | {"field": section}
    data["camera"]["image_size_px"] = 8
    data["prior"]["image_size_px"] = 8
    data["optimize"] |= {
        "num_steps": 16,
        "checkpoint_every_steps": 5,
        "optimizer": SHAMPOO
        if optimizer == "distributed_shampoo"
        else data["optimize"]["optimizer"],
    }
    short = Recipe.model_validate(data)
    torch.manual_seed(1)
    with no_global_draws():
        whole = run(short, make_scratch("whole"))
    stopped = make_scratch("stopped")
    for global_seed, stop in ((2, 6), (3, 14)):
        torch.manual_seed(global_seed)
        with pytest.raises(KeyboardInterrupt):
            run(short, stopped, Silent(stop_at=stop))
    assert_same(run(short, stopped), whole)


@pytest.mark.parametrize(
    "name", ["toybox", "toybox-vsd", "toybox-clip", "toybox-ism", "toybox-sdi"]
)
def test_pretrained_priors_draw_from_no_global_generator(
    make_scratch: Callable[[str], Scratch],
    no_global_draws: Callable[[], AbstractContextManager[None]],
    name: str,
) -> None:
    """Loading, text, guidance, and phi's own layers."""
    shipped = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    decay = shipped.optimize.learning_rate_decay.model_dump(mode="python") | {"warmup_steps": 0}
    short = changed(shipped, optimize={"num_steps": 2, "learning_rate_decay": decay})
    source: Any = short.prior.source  # pyright: ignore
    with no_global_draws():
        prior: Any = build_prior(short.prior, packaged.MODELS / source.name, CPU)
        run(short, make_scratch(name), prior=prior)
