"""Names of folders on this machine."""

from pathlib import Path

from dreamfusion_kit.recipe.local_models import resolve_path


def test_a_plain_path_belongs_to_the_workspace(tmp_path: Path) -> None:
    assert resolve_path("models/sd", tmp_path) == (tmp_path / "models/sd", tmp_path)


def test_a_named_path_belongs_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "models.local.yaml").write_text("models:\n  big_disk: /srv/models\n")
    found = resolve_path("big_disk:sd/x", tmp_path)
    assert found == (Path("/srv/models/sd/x"), Path("/srv/models"))
