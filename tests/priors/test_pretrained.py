"""When a denoiser is read and moved, for every kind of prior that lies in a directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from dreamfusion_kit.priors import pretrained
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema

from .sections import FAMILIES

LOCAL = {"kind": "local", "path": "somewhere"}


@pytest.fixture(params=FAMILIES)
def prior(request: pytest.FixtureRequest) -> Any:
    directory: Path = request.getfixturevalue(request.param)
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    section = adapter.validate_python({"source": LOCAL, **FAMILIES[request.param]})
    return build_prior(section, directory, "cpu")


def test_the_denoiser_is_read_once_and_not_for_text(
    prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = type(prior)._read_denoiser

    def counted(self: Any) -> torch.nn.Module:
        reads.append(type(self).__name__)
        return read(self)

    monkeypatch.setattr(type(prior), "_read_denoiser", counted)
    text = prior.encode_text(["a"])
    clean = prior.to_model_space(torch.rand(1, 3, 8, 8))
    assert reads == []
    for _ in range(2):
        prior.predict(clean, torch.tensor([500]), text)
    prior.adapter(2, generator=torch.Generator())
    assert reads == [type(prior).__name__]


def test_a_prediction_is_made_on_the_device_and_without_a_graph(
    prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextmanager
    def watched(model: torch.nn.Module, *_: Any, **__: Any) -> Iterator[torch.nn.Module]:
        events.append("in")
        yield model
        events.append("out")

    monkeypatch.setattr(pretrained, "resident", watched)
    text = prior.encode_text(["a"])
    clean = prior.to_model_space(torch.rand(1, 3, 8, 8)).requires_grad_()
    prior._denoiser.register_forward_hook(lambda *_: events.append("denoise"))
    epsilon = prior.predict(clean, torch.tensor([500]), text)
    assert not epsilon.requires_grad
    assert events == ["in", "denoise", "out"]
    with prior.adapter(2, generator=torch.Generator()).resident():
        assert events[3:] == ["in"]
    assert events[4:] == ["out"]
