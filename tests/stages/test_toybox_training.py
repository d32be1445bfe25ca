"""The folder of a training's checkpoints: one per code, settings and files that it reads."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.stages import scratch, toybox_training
from dreamfusion_kit.stages.toybox_training import Losses, checkpoints
from dreamfusion_kit.toybox.settings import ToyboxSettings

CPU = torch.device("cpu")
PARAMS = Path(__file__).parents[2] / "toybox" / "params.yaml"


@pytest.fixture(scope="module")
def sections() -> ToyboxSettings:
    return validate(load_yaml(PARAMS), ToyboxSettings)


@pytest.fixture(autouse=True)
def digests(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the digests of code that a training sees, which a test may change."""
    known = {"toybox_train_latent": "a" * 64, "toybox_train_multi_view": "b" * 64}
    monkeypatch.setattr(toybox_training, "code_digests", lambda memory: known)
    return known


def folder(workspace: Path, sections: ToyboxSettings, **changes: object) -> Path:
    section = sections.latent.model_copy(update=changes)
    others, read = [sections.shelf], workspace / "weights"
    with checkpoints(
        workspace, "toybox_train_latent", section, CPU, others, reads=[read, read / "vae.json"]
    ) as path:
        return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "weights" / "tokenizer").mkdir(parents=True)
    (tmp_path / "weights" / "vae.json").write_text("{}")
    (tmp_path / "weights" / "tokenizer" / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_training_comes_back_to_its_folder(workspace: Path, sections: ToyboxSettings) -> None:
    first = folder(workspace, sections)
    assert folder(workspace, sections) == first
    assert folder(workspace, sections, checkpoint_every_steps=7, sample_every_steps=9) == first


def test_whatever_decides_the_result_asks_for_another_folder(
    workspace: Path,
    sections: ToyboxSettings,
    digests: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A longer training too: the end of a shorter one has learned at a falling rate."""
    found = [folder(workspace, sections)]
    found += [folder(workspace, sections, **{name: 7}) for name in ("seed", "num_steps")]
    more = sections.shelf.model_copy(update={"shelf_size": 7})
    found.append(folder(workspace, sections.model_copy(update={"shelf": more})))
    for file in ("vae.json", "tokenizer/tokenizer.json"):
        (workspace / "weights" / file).write_text("[]")
        found.append(folder(workspace, sections))
    digests["toybox_train_latent"] = "c" * 64
    found.append(folder(workspace, sections))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)  # sums in another order
    found.append(folder(workspace, sections))
    assert len(set(found)) == len(found)


def test_its_folder_is_listed_and_cleared(workspace: Path, sections: ToyboxSettings) -> None:
    section = sections.multi_view
    older = (
        workspace / ".work" / "toybox-multi-view-0123456789abcdef"
    )  # it was once named like that
    older.mkdir(parents=True)
    with checkpoints(workspace, "toybox_train_multi_view", section, CPU) as path:
        found = {one.path: one for one in scratch.find(workspace)}
        assert set(found) == {path, older}
        assert found[path].in_use
        assert found[path].note == {
            "suite": "toybox",
            "asset": "multiview",
            "stage": "train-multiview",
        }
    scratch.clear(scratch.find(workspace))
    assert not path.exists()
    assert not older.exists()


def test_progress_is_the_mean_loss_since_the_last_line(
    sections: ToyboxSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Losses("latent", sections.latent)
    for step in range(50):
        report(step, float(step))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"latent: step 25/{sections.latent.num_steps}  loss 12.0000  ")
    assert second.startswith(f"latent: step 50/{sections.latent.num_steps}  loss 37.0000  ")
