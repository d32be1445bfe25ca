"""Noise levels of a scheduler's file, against exact arithmetic."""

import json
import math
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.priors.directory import load_schedule

ROOT = Path(__file__).parents[2]
TOYBOX = ROOT / "dreamfusion_kit/toybox/weights/prior/scheduler/scheduler_config.json"
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DEEP_FLOYD = {"beta_schedule": "squaredcos_cap_v2"}
LINEAR = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


def betas(config: dict[str, Any]) -> list[float]:
    """Return the published formulas' betas: Ho 2020, Rombach 2022, Nichol and Dhariwal 2021."""
    count = 1000
    if config["beta_schedule"] == "squaredcos_cap_v2":

        def signal(time: float) -> float:
            return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

        steps = [(index / count, (index + 1) / count) for index in range(count)]
        return [min(1 - signal(after) / signal(before), 0.999) for before, after in steps]
    power = 2 if config["beta_schedule"] == "scaled_linear" else 1
    first, last = (config[key] ** (1 / power) for key in ("beta_start", "beta_end"))
    return [(first + (last - first) * index / (count - 1)) ** power for index in range(count)]


def exact_levels(config: dict[str, Any]) -> list[float]:
    """Return sqrt(1 - alpha_bar) in forty digits, rounded once."""
    with localcontext(prec=40):
        product, found = Decimal(1), []
        for beta in betas(config):
            product *= 1 - Decimal(beta)
            found.append(float((1 - product).sqrt()))
    return found


@pytest.mark.parametrize("changes", [DEEP_FLOYD, STABLE_DIFFUSION, LINEAR])
def test_the_lowest_noise_levels_keep_their_digits(changes: dict[str, Any], tmp_path: Path) -> None:
    config = json.loads(TOYBOX.read_text()) | changes
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    schedule, _ = load_schedule(tmp_path, torch.device("cpu"))
    found = schedule.sigma_t(torch.arange(1000))
    expected = torch.tensor(exact_levels(config))
    lowest = expected.square() < 2**-10  # there, the difference of float32 was off by up to 3e-4
    torch.testing.assert_close(found[lowest], expected[lowest], rtol=2e-6, atol=0)
    torch.testing.assert_close(found, expected, rtol=3e-5, atol=0)
    assert lowest[0]


def test_higher_levels_are_float32_s_difference(tmp_path: Path) -> None:
    """So that what the toybox's recipes have made stays: none of theirs is below timestep 20."""
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(TOYBOX.read_text())
    schedule, _ = load_schedule(tmp_path, torch.device("cpu"))
    difference = (1 - schedule.alpha_bar).sqrt()
    found = schedule.sigma_t(torch.arange(1000))
    assert torch.equal(found[20:], difference[20:])
    assert abs(float(difference[0] / found[0]) - 1) > 2e-4
