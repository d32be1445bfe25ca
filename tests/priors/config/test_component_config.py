"""What a component's configuration may say: schedulers, and the lengths of tokenizers."""

import shutil
from typing import Any

import diffusers
import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError, WeightsError
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.config import components
from dreamfusion_kit.priors.config.model_files import check_model
from dreamfusion_kit.priors.prediction import PREDICTION_TYPES

from .model_copy import Copy, edit, refusal, section


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": ...}, "_class_name is missing"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "is of a FlowMatchEuler"),
        ({"num_train_timesteps": ...}, "num_train_timesteps is missing"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_train_timesteps": 1e3}, "num_train_timesteps is 1000.0"),
        ({"beta_schedule": ...}, "beta_schedule is missing"),
        ({"beta_schedule": "exec"}, "beta_schedule is 'exec'"),
        ({"beta_start": ...}, "expected beta_start and beta_end"),
        ({"beta_end": None}, "expected beta_start and beta_end"),
        ({"beta_end": -0.1}, "beta_end is -0.1"),
        ({"beta_end": 2}, "beta_end is 2"),
        ({"beta_start": 0.5}, "expected a beta_start that is at most beta_end"),
        ({"trained_betas": [0.1]}, "as many trained_betas as num_train_timesteps"),
        ({"trained_betas": [-0.1] * 1000}, "trained_betas above 0"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
    ],
)
def test_betas_are_never_a_default_s(copy: Copy, changes: dict[str, Any], said: str) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "scheduler" / "scheduler_config.json", **changes)
    message = refusal("stable_diffusion", directory)
    assert message.startswith("model/scheduler/scheduler_config.json: ")
    assert said in message
    with pytest.raises(WeightsError, match=r"scheduler_config\.json"):
        build_prior(section("stable_diffusion"), directory, "cpu")


@pytest.mark.parametrize("family", ["pipeline", "stable_diffusion", "stable_diffusion_3"])
@pytest.mark.parametrize("content", ["{}", "", "[]"])
def test_an_empty_scheduler_is_refused(copy: Copy, family: str, content: str) -> None:
    directory = copy(family)
    (directory / "scheduler" / "scheduler_config.json").write_text(content)
    assert "model/scheduler/scheduler_config.json: " in refusal(family, directory)


def test_every_prediction_type_is_read() -> None:
    from dreamfusion_kit.priors.config.schema import SchedulerConfig

    for name in PREDICTION_TYPES:
        SchedulerConfig.model_validate(
            {
                "_class_name": "DDPMScheduler",
                "num_train_timesteps": 2,
                "beta_schedule": "squaredcos_cap_v2",
                "prediction_type": name,
            }
        )


@pytest.mark.parametrize("name", sorted(components.DIFFUSION_SCHEDULERS))
def test_schedulers_that_step_otherwise_mean_the_same_betas(copy: Copy, name: str) -> None:
    """Saved by the class itself: the betas that it computes are those that the prior reads."""
    scheduler_class: Any = getattr(diffusers, name)
    keys = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    directory = copy("stable_diffusion")
    try:
        own = scheduler_class(**keys, prediction_type="v_prediction")
    except (ImportError, DeprecationWarning):
        # One needs torchsde, and two warn with this NumPy; only their files are read.
        edit(directory / "scheduler" / "scheduler_config.json", _class_name=name, **keys)
        own = diffusers.DDIMScheduler(**keys)
    else:
        shutil.rmtree(directory / "scheduler")
        own.save_pretrained(directory / "scheduler")
    edit(directory / "model_index.json", scheduler=["diffusers", name])
    check_model(section("stable_diffusion"), directory)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert isinstance(prior, Prior)
    torch.testing.assert_close(prior.schedule.alpha_bar, own.alphas_cumprod.float())


@pytest.mark.parametrize("length", [..., 10**9, 1000000000000000019884624838656, 1e30, 77], ids=str)
def test_a_tokenizer_without_a_length_of_its_own_reads_as_much_as_its_encoder(
    copy: Copy, length: Any
) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    check_model(section("stable_diffusion"), directory)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert prior.encode_text(["a mug"]).tensors["hidden"].shape == (1, 16, 12)
    with pytest.raises(DreamFusionKitError, match="reads at most 16; shorten the prompt"):
        prior.encode_text(["a mug beside a robot"])


def test_a_tokenizer_s_own_length_counts_where_it_is_shorter(copy: Copy) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=8)
    prior = build_prior(section("stable_diffusion"), directory, "cpu")
    assert prior.encode_text(["a mug"]).tensors["hidden"].shape == (1, 8, 12)


@pytest.mark.parametrize("length", [0, -1, "77", True, []])
def test_a_length_that_is_none_is_refused(copy: Copy, length: Any) -> None:
    directory = copy("stable_diffusion")
    edit(directory / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    assert "tokenizer_config.json: model_max_length" in refusal("stable_diffusion", directory)
