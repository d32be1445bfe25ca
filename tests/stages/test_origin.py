"""What an output says of itself is compared with what it is asked for."""

import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.stages import origin

MUG = {"asset": "mug", "prompt": "a red mug", "seed": 0, "sections": "0" * 64}


@pytest.fixture
def field(tmp_path: Path) -> Path:
    folder = tmp_path / "field" / "mug"
    (folder / "previews").mkdir(parents=True)
    (folder / "field.safetensors").write_bytes(b"mug")
    (folder / "previews" / "step.png").write_bytes(b"png")
    origin.write(folder, **MUG)
    return folder


def test_an_output_of_its_own_asset_is_taken(field: Path) -> None:
    origin.check(field, **MUG, made_by="optimize")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asset": "cone"}, "found the asset 'mug', expected 'cone'"),
        ({"prompt": "a red cone"}, "found the prompt 'a red mug', expected 'a red cone'"),
        ({"seed": 1}, "found the seed 0, expected 1"),
        ({"sections": "1" * 64}, "found the recipe '0000"),
        ({"prompt": "\u202e\n" * 100}, "expected '\\u202e\\n"),
    ],
)
def test_another_asset_s_output_is_refused(
    field: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(DreamFusionKitError) as caught:
        origin.check(field, **{**MUG, **change}, made_by="optimize")
    message = str(caught.value)
    assert message.startswith(f"{field / 'origin.json'}: found the ")
    assert said in message
    assert message.endswith("; written by the optimize stage; run `dvc repro`")
    assert message.isprintable()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "field.safetensors").write_bytes(b"cone"), "found other content"),
        (lambda f: (f / "field.safetensors").unlink(), "found missing"),
        (lambda f: (f / "field_1.safetensors").write_bytes(b""), "found one more"),
        (lambda f: (f / "origin.json").unlink(), "not there"),
        (lambda f: (f / "origin.json").write_text("{}"), "asset: missing (and 4 more)"),
    ],
)
def test_files_put_in_place_are_refused(field: Path, damage: object, said: str) -> None:
    damage(field)  # pyright: ignore
    with pytest.raises(DreamFusionKitError) as caught:
        origin.check(field, **MUG, made_by="optimize")
    assert f": {said}" in str(caught.value)


def test_equal_folders_have_equal_origins(field: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(field, tmp_path / "copy")
    (copy / "origin.json").unlink()
    origin.write(copy, **MUG)
    assert (copy / "origin.json").read_bytes() == (field / "origin.json").read_bytes()


def test_prompts_are_compared_with_their_keys_and_order() -> None:
    path, mug = Path("out/text/mug.safetensors"), {"front": "a mug, front", "": "x"}

    def check(found: dict[str, str]) -> None:
        origin.check_prompts(path, found, mug, made_by="embed")

    check(dict(mug))
    with pytest.raises(DreamFusionKitError, match=r"mug.safetensors: found front: 'a cone, front'"):
        check(mug | {"front": "a cone, front"})
    with pytest.raises(DreamFusionKitError, match=r"found front: None, expected 'a mug, front'"):
        check({"": "x"})
    with pytest.raises(DreamFusionKitError, match=r"found prompts for , front, expected front, "):
        check(dict(reversed(mug.items())))
    with pytest.raises(DreamFusionKitError, match=r"found prompts for front, , side"):
        check(mug | {"side": "a mug, side"})
