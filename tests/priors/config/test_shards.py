"""Indices of split weights, which could name a pickle or a file elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from dreamfusion_kit import files
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.shards import check_indices
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.network.clip_files import load_clip_model
from dreamfusion_kit.priors.source import fetch
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe.schema import LocalSourceSection

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model.safetensors", "model.safetensors"
NOT_BESIDE = [
    "weights.bin",
    "../outside.safetensors",
    "/etc/outside.safetensors",
    "sub/model.safetensors",
    "..\\outside.safetensors",
    ".hidden.safetensors",
    "a\nb.safetensors",
    "model.safetensors.bin",
    "",
]


def split(folder: Path, name: str, into: str = "part.safetensors", shard: str = "") -> Path:
    """Replace a folder's weights by one shard and an index that names `into`."""
    whole = folder / name
    tensors = load_file(whole)
    whole.unlink()
    save_file(tensors, folder / (shard or "part.safetensors"), metadata={"format": "pt"})
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, into)}))
    return index


@pytest.fixture
def workspace(pipeline: Path, tmp_path: Path) -> Path:
    shutil.copytree(pipeline, tmp_path / "workspace" / "prior")
    return tmp_path / "workspace"


SOURCE = LocalSourceSection(kind="local", path="prior")
LOADS: list[tuple[str, str, Any]] = [
    ("unet", DIFFUSERS, UNet2DConditionModel),
    ("text_encoder", TRANSFORMERS, CLIPTextModel),
]


@pytest.mark.parametrize(("folder", "name", "model_class"), LOADS)
def test_split_weights_are_read(workspace: Path, folder: str, name: str, model_class: Any) -> None:
    whole = load_model(model_class, workspace / "prior" / folder, dtype=torch.float32)
    split(workspace / "prior" / folder, name)
    fetch.locate(SOURCE, workspace, fetch.fetch(SOURCE, workspace))
    parts = load_model(model_class, workspace / "prior" / folder, dtype=torch.float32)
    for (key, one), (other, two) in zip(
        whole.state_dict().items(), parts.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(one, two)


@pytest.mark.parametrize(("folder", "name", "model_class"), LOADS)
@pytest.mark.parametrize("named", NOT_BESIDE)
def test_an_index_names_safetensors_beside_it(
    workspace: Path, folder: str, name: str, model_class: Any, named: str
) -> None:
    split(workspace / "prior" / folder, name, named)
    for attempt in (
        lambda: fetch.fetch(SOURCE, workspace),
        lambda: load_model(model_class, workspace / "prior" / folder, dtype=torch.float32),
    ):
        with pytest.raises(WeightsError, match=r"index\.json: names .*files of its own folder"):
            attempt()


def test_a_pickle_is_not_loaded_by_way_of_an_index(workspace: Path) -> None:
    folder = workspace / "prior" / "unet"
    tensors = load_file(folder / DIFFUSERS)
    torch.save(tensors, folder / "weights.bin")
    split(folder, DIFFUSERS, "weights.bin")
    with pytest.raises(WeightsError, match=r"names 'weights\.bin'; expected safetensors"):
        load_model(UNet2DConditionModel, folder, dtype=torch.float32)


def test_a_lock_that_was_made_before_does_not_help(workspace: Path) -> None:
    """As one of an earlier version, which looked at no index."""
    split(workspace / "prior" / "unet", DIFFUSERS, "weights.bin")
    lock: Lock = {
        path.relative_to(workspace / "prior").as_posix(): {
            "sha256": files.sha256(path),
            "size_bytes": path.stat().st_size,
        }
        for path in (workspace / "prior").rglob("*")
        if path.is_file()
    }
    with pytest.raises(WeightsError, match=r"names 'weights\.bin'"):
        fetch.locate(SOURCE, workspace, lock)


def test_a_file_that_is_not_locked_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    names = {"model.safetensors.index.json"}
    with pytest.raises(WeightsError, match=r"names b\.safetensors, which is not among"):
        check_indices(tmp_path, names)
    (tmp_path / "b.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"names b\.safetensors, which is not among"):
        check_indices(tmp_path, names)
    check_indices(tmp_path, {*names, "b.safetensors"})
    check_indices(tmp_path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}']
)
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "pytorch_model.bin.index.json",
    ],
)
def test_an_index_that_is_not_one_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(WeightsError, match=rf"{name}: "):
        check_indices(tmp_path)


def test_a_clip_is_not_read_from_outside(
    clip_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Path(shutil.copytree(clip_directory, tmp_path / "workspace" / "clip"))
    split(directory, TRANSFORMERS, "../../outside.safetensors", "../../outside.safetensors")
    source = LocalSourceSection(kind="local", path="clip")
    attempts: list[Callable[[], object]] = [
        lambda: load_clip_model(directory),
        lambda: fetch.fetch(source, tmp_path / "workspace"),
    ]
    for attempt in attempts:
        with pytest.raises(WeightsError, match=r"names '\.\./\.\./outside\.safetensors'"):
            attempt()
