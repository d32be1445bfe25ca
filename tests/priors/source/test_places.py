"""Folders of models on this machine: where links may lead, and what is refused with advice."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.source import fetch
from dreamfusion_kit.priors.source.places import model_directory, model_file
from dreamfusion_kit.recipe.schema import LocalSourceSection


def source(path: str) -> LocalSourceSection:
    return LocalSourceSection(kind="local", path=path)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "sd").mkdir(parents=True)
    (folder / "sd" / "model_index.json").write_text("{}")
    return folder


def name_folder(workspace: Path, text: str) -> None:
    (workspace / "models.local.yaml").write_text(text)


@pytest.mark.parametrize("path", ["..", "sd/../..", "/etc"])
def test_a_path_that_leads_out_is_refused(workspace: Path, path: str) -> None:
    with pytest.raises(WeightsError, match="leads out of the workspace"):
        model_directory(path, workspace)


def test_a_linked_directory_that_leads_out_is_refused(workspace: Path) -> None:
    (workspace / "link").symlink_to(workspace.parent, target_is_directory=True)
    with pytest.raises(WeightsError, match="leads out of the workspace"):
        model_directory("link", workspace)


def test_a_linked_file_that_leads_out_is_named(workspace: Path) -> None:
    (workspace / "sd" / "extra.json").symlink_to(workspace.parent / "secret.json")
    with pytest.raises(WeightsError, match=r"extra.json is a link that leads out"):
        model_directory("sd", workspace)


def test_a_missing_directory_says_how_to_get_it(workspace: Path) -> None:
    with pytest.raises(WeightsError, match=r"'absent': is not a directory; .*dvc pull"):
        model_directory("absent", workspace)


def test_a_folder_elsewhere_is_found_by_its_name_and_pinned(workspace: Path) -> None:
    store = workspace.parent / "store"
    shutil.copytree(workspace / "sd", store / "deep" / "sd")
    name_folder(workspace, f"models:\n  store: {store}\n")
    lock = fetch.fetch(source("store:deep/sd"), workspace)
    assert lock == fetch.fetch(source("sd"), workspace)
    assert fetch.locate(source("store:deep/sd"), workspace, lock) == store / "deep" / "sd"
    (store / "deep" / "sd" / "model_index.json").write_text("[]")
    with pytest.raises(WeightsError, match="with other bytes"):
        fetch.locate(source("store:deep/sd"), workspace, lock)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"no folder of models is called store .*known: none"),
        ("models: {other: /srv}\n", "known: other"),
        ("models: {store: relative}\n", "found 'relative', expected an absolute path"),
        ("stores: {}\n", "unknown key"),
    ],
)
def test_an_unknown_name_says_what_to_write(workspace: Path, text: str | None, said: str) -> None:
    if text is not None:
        name_folder(workspace, text)
    with pytest.raises(RecipeError, match=said):
        model_directory("store:sd", workspace)


def test_a_named_folder_is_not_left(workspace: Path) -> None:
    store = workspace.parent / "store"
    store.mkdir()
    (store / "sd").symlink_to(workspace / "sd", target_is_directory=True)
    name_folder(workspace, f"models: {{store: {store}}}\n")
    with pytest.raises(WeightsError, match=r"leads out of the folder store of models\.local\.yaml"):
        model_directory("store:sd", workspace)
    with pytest.raises(ValueError, match="stays inside the workspace"):
        source("store:../other")


def test_links_into_dvc_s_shared_cache_are_read(workspace: Path) -> None:
    cache = workspace.parent / "shared"
    for command in (
        ["init", "--no-scm", "--quiet"],
        ["cache", "dir", "--quiet", str(cache)],
        ["config", "--quiet", "cache.type", "symlink"],
        ["add", "--quiet", "sd"],
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=workspace, check=True)
    index = workspace / "sd" / "model_index.json"
    assert index.is_symlink()
    assert index.resolve().is_relative_to(cache)
    lock = fetch.fetch(source("sd"), workspace)
    digest = hashlib.sha256(b"{}").hexdigest()
    assert lock == {"model_index.json": {"sha256": digest, "size_bytes": 2}}
    index.unlink()
    (workspace.parent / "elsewhere.json").write_text("{}")
    index.symlink_to(workspace.parent / "elsewhere.json")
    with pytest.raises(WeightsError, match="not into DVC's cache"):
        fetch.fetch(source("sd"), workspace)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("v1-5.safetensors",), r"kind: file, path: one/v1-5.safetensors, sha256"),
        (("model.ckpt",), r"model.ckpt is all that holds weights there; pickles .*save_pretrained"),
        (("model.gguf",), "GGUF files are never read"),
        (("model.onnx",), "ONNX graphs are never read"),
        (
            ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"),
            r"unet/diffusion_pytorch_model.bin is all .* pickles are never read",
        ),
    ],
)
def test_weights_that_cannot_be_read_are_refused_with_what_to_do(
    workspace: Path, files: tuple[str, ...], said: str
) -> None:
    for name in files:
        file = workspace / "one" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    with pytest.raises(WeightsError, match=said):
        fetch.fetch(source("one"), workspace)


def test_pickles_beside_safetensors_do_no_harm(workspace: Path) -> None:
    for name in ("unet/config.json", "unet/model.bin", "unet/model.safetensors"):
        (workspace / "sd" / name).parent.mkdir(exist_ok=True)
        (workspace / "sd" / name).write_text("{}")
    assert set(fetch.fetch(source("sd"), workspace)) == {
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
    }


def test_a_file_is_found_where_it_may_lie(workspace: Path) -> None:
    (workspace / "a.safetensors").write_text("")
    assert model_file("a.safetensors", workspace) == workspace / "a.safetensors"
    with pytest.raises(WeightsError, match="is not a file"):
        model_file("b.safetensors", workspace)
    (workspace / "b.safetensors").symlink_to(workspace.parent / "secret.safetensors")
    with pytest.raises(WeightsError, match="is a link that leads out of the workspace"):
        model_file("b.safetensors", workspace)
