"""An upgrade replaces copies that are as the kit shipped them, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.workspace import shipped
from dreamfusion_kit.workspace.copies import copy_protocol
from dreamfusion_kit.workspace.init import init
from dreamfusion_kit.workspace.upgrade import differences, upgrade

ROOT = Path(__file__).parents[2]
CARRIED = ("recipes/analytic.yaml", "recipes/toybox.yaml", "recipes/README.md")
WRITTEN = "written; it was as another version of the kit has it"
KEPT = (
    "edited by hand, kept; `dreamfusion-kit upgrade --diff` shows what this version has",
    "edited by hand, kept; `python cli.py upgrade --diff` shows what this version has",
)


class Kit:
    """What an installed kit carries, in real files; `release` makes it another version's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (*CARRIED, "protocols/dreamfusion.yaml", "dvc.yaml"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)

    def release(self, version: str, name: str = "recipes/toybox.yaml") -> bytes:
        path = self.root / name
        path.write_text(f"{path.read_text()}# Version {version}.\n")
        return path.read_bytes()


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    kit = Kit(tmp_path / "site-packages")
    monkeypatch.setattr(shipped, "_CARRIED", kit.root)
    return kit


@pytest.fixture
def made(kit: Kit, tmp_path: Path) -> Path:
    init(tmp_path / "made", "analytic")
    return tmp_path / "made"


def _contents(workspace: Path) -> dict[str, bytes]:
    return {
        path.relative_to(workspace).as_posix(): path.read_bytes()
        for name in ("recipes", "protocols")
        for path in (workspace / name).rglob("*")
        if path.is_file()
    }


def test_an_unedited_copy_is_replaced(made: Path, kit: Kit) -> None:
    before = _contents(made)
    new = kit.release("2")
    assert list(upgrade(made)) == [f"{made}/recipes/toybox.yaml: {WRITTEN}"]
    assert _contents(made) == before | {"recipes/toybox.yaml": new}
    assert list(upgrade(made)) == []


def test_what_reruns_follows_from_the_new_recipe(made: Path, kit: Kit) -> None:
    path = kit.root / "recipes" / "analytic.yaml"
    text = path.read_text()
    assert "texture_size_px: 64" in text
    path.write_text(text.replace("texture_size_px: 64", "texture_size_px: 128"))
    assert list(upgrade(made)) == [
        f"{made}/recipes/analytic.yaml: {WRITTEN}",
        "default: mesh of red_mug reruns",
        "default: report reruns",
        "default: then evaluate, score, where what they read has changed",
    ]


def test_an_edited_copy_is_kept_and_git_can_take_what_is_new(made: Path, kit: Kit) -> None:
    path = made / "recipes" / "toybox.yaml"
    edited = "# Mine.\n" + path.read_text()
    path.write_text(edited)
    assert list(upgrade(made)) == []
    new = kit.release("2")
    (said,) = upgrade(made)
    assert said in [f"{path}: {kept}" for kept in KEPT]
    assert path.read_text() == edited
    assert list(upgrade(made)) == []  # said once

    patch = "".join(f"{line}\n" for line in differences(made))
    assert path.read_text() == edited
    assert "-# Mine.\n" in patch
    assert "+# Version 2.\n" in patch
    subprocess.run(["git", "apply"], cwd=made, input=patch.encode(), check=True)
    assert path.read_bytes() == new
    newer = kit.release("3")  # a copy that was taken is the kit's again
    assert list(upgrade(made)) == [f"{path}: {WRITTEN}"]
    assert path.read_bytes() == newer
    assert list(differences(made)) == []


def test_a_copy_of_any_earlier_version_is_the_kits(made: Path, kit: Kit) -> None:
    path = made / "recipes" / "toybox.yaml"
    first = path.read_bytes()
    path.write_bytes(first + b"# Mine.\n")
    kit.release("2")
    list(upgrade(made))
    path.write_bytes(first)
    newest = kit.release("3")
    assert list(upgrade(made)) == [f"{path}: {WRITTEN}"]
    assert path.read_bytes() == newest


def test_new_files_come_and_removed_ones_stay_removed(made: Path, kit: Kit) -> None:
    (made / "recipes" / "toybox.yaml").unlink()
    (made / "protocols" / "dreamfusion.yaml").unlink()
    kit.release("2")
    shutil.copy(ROOT / "recipes" / "toybox-csd.yaml", kit.root / "recipes")
    path = made / "recipes" / "toybox-csd.yaml"
    assert list(upgrade(made)) == [f"{path}: written; new in this version"]
    assert path.read_bytes() == (ROOT / "recipes" / "toybox-csd.yaml").read_bytes()
    assert not (made / "recipes" / "toybox.yaml").exists()
    assert not (made / "protocols" / "dreamfusion.yaml").exists()
    assert list(upgrade(made)) == []


def test_a_users_recipe_of_a_new_name_is_kept(made: Path, kit: Kit) -> None:
    path = made / "recipes" / "toybox-csd.yaml"
    shutil.copy(made / "recipes" / "toybox.yaml", path)
    before = _contents(made)
    shutil.copy(ROOT / "recipes" / "toybox-csd.yaml", kit.root / "recipes")
    (said,) = upgrade(made)
    assert said in [f"{path}: {kept}" for kept in KEPT]
    assert _contents(made) == before


def test_what_a_version_no_longer_has_becomes_the_users(made: Path, kit: Kit) -> None:
    before = _contents(made)
    gone = kit.root / "recipes" / "toybox.yaml"
    text = gone.read_text()
    gone.unlink()
    assert list(upgrade(made)) == [
        f"{made}/recipes/toybox.yaml: this version no longer has it; kept, and yours from now on"
    ]
    assert list(upgrade(made)) == []
    gone.write_text(text + "# Back again.\n")
    (said,) = upgrade(made)
    assert "edited by hand, kept" in said
    assert _contents(made) == before


def test_without_a_record_nothing_is_replaced_or_added(made: Path, kit: Kit) -> None:
    """A workspace older than the record: nobody knows whether a copy was edited."""
    (made / ".dvc" / "dreamfusion-kit.shipped").unlink()
    (made / "protocols" / "dreamfusion.yaml").unlink()
    before = _contents(made)
    kit.release("2")
    (said,) = upgrade(made)
    assert said in [f"{made}/recipes/toybox.yaml: {kept}" for kept in KEPT]
    assert _contents(made) == before
    assert list(upgrade(made)) == []
    kit.release("3", "recipes/README.md")  # as version 2, so known by now
    assert list(upgrade(made)) == [f"{made}/recipes/README.md: {WRITTEN}"]


def test_a_protocol_copied_for_a_suite_is_the_kits(made: Path, kit: Kit) -> None:
    path = made / "protocols" / "dreamfusion.yaml"
    path.unlink()
    kit.release("2", "protocols/dreamfusion.yaml")
    copy_protocol(made, "dreamfusion")
    assert path.read_bytes() == (kit.root / "protocols" / "dreamfusion.yaml").read_bytes()
    newest = kit.release("3", "protocols/dreamfusion.yaml")
    assert f"{path}: {WRITTEN}" in list(upgrade(made))
    assert path.read_bytes() == newest


def test_of_one_suite_recipes_are_not_touched(made: Path, kit: Kit) -> None:
    before = _contents(made)
    kit.release("2")
    assert list(upgrade(made, ["default"])) == []
    assert _contents(made) == before


def test_links_and_folders_are_the_users(made: Path, kit: Kit, tmp_path: Path) -> None:
    linked, folded = made / "recipes" / "toybox.yaml", made / "recipes" / "README.md"
    linked.rename(tmp_path / "shared.yaml")
    linked.symlink_to(tmp_path / "shared.yaml")
    folded.unlink()
    folded.mkdir()
    kit.release("2")
    kit.release("2", "recipes/README.md")
    assert [said.partition(":")[0] for said in upgrade(made)] == [str(folded), str(linked)]
    assert linked.is_symlink()
    assert folded.is_dir()
    assert "Version 2" not in linked.read_text()
    assert list(differences(made)) == []


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "0" * 63 + "  recipes/a.yaml", "\x1b\xff"])
def test_a_damaged_record_is_refused_before_anything_is_written(
    made: Path, kit: Kit, line: str
) -> None:
    record = made / ".dvc" / "dreamfusion-kit.shipped"
    record.write_text(record.read_text() + line + "\n")
    before = _contents(made)
    kit.release("2")
    with pytest.raises(DreamFusionKitError, match=r"shipped:\d+: found .*expected a SHA-256"):
        list(upgrade(made))
    assert _contents(made) == before


def test_lines_of_both_sides_of_a_merge_are_a_record(made: Path, kit: Kit) -> None:
    record = made / ".dvc" / "dreamfusion-kit.shipped"
    text = record.read_text()
    kit.release("2")
    record.write_text(text + text)
    assert list(upgrade(made)) == [f"{made}/recipes/toybox.yaml: {WRITTEN}"]


def test_its_record_is_what_sha256sum_checks(made: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", ".dvc/dreamfusion-kit.shipped"]
    subprocess.run(check, cwd=made, check=True)


def test_a_clone_is_the_source_of_its_own_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_CARRIED", tmp_path / "none")
    init(tmp_path / "clone", "analytic")
    (tmp_path / "clone" / ".dvc" / "dreamfusion-kit.shipped").unlink()
    monkeypatch.setattr(shipped, "_CLONE", tmp_path / "clone")
    (tmp_path / "clone" / "recipes" / "toybox.yaml").unlink()
    assert list(upgrade(tmp_path / "clone")) == []
    assert not (tmp_path / "clone" / ".dvc" / "dreamfusion-kit.shipped").exists()
