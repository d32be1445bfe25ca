"""JSON from untrusted sources: what is read, and what ends in a one-line error."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.json_file import checked, read_object


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": [1, 2.5, null], "b": {"c": "é"}}', encoding="utf-8")
    assert read_object(path) == {"a": [1, 2.5, None], "b": {"c": "é"}}
    path.write_text(nested(31))
    assert list(read_object(path)) == ["a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "a list and not an object"),
        ("3", "a int and not an object"),
        ('{"a": Infinity}', "Infinity is not a number"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1e999}', "1e999 is beyond every number"),
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
        (nested(33), "nests deeper than 32 levels"),
        (nested(100_000), ""),
        ('{"a": ' + "[" * 100_000, ""),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"a": "' + "x" * 2**20 + '"}', "more than 1048576"),
        ('{"\x1b[2J": 1}', "Invalid control character"),
        ('{"a\\nb": 1, "a\\nb": 2}', "stands there twice"),
    ],
)
def test_what_is_no_such_object_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(WeightsError) as caught:
        read_object(path, place="prior/unet/config.json")
    message = str(caught.value)
    assert message.startswith("prior/unet/config.json: cannot be read (")
    assert said in message
    assert message.isprintable()


def test_other_things_than_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read \(No such file"):
        read_object(tmp_path / "config.json")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read \(Is a directory"):
        read_object(tmp_path / "config.json")
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(WeightsError, match=r"bytes\.json: cannot be read"):
        read_object(tmp_path / "bytes.json")


class Settings(BaseModel):
    model_config = ConfigDict(strict=True)
    width: int = Field(ge=1)
    name: str


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"width": 0, "name": "a"}, ["width is 0; expected greater than or equal to 1"]),
        ({"width": True, "name": "a"}, ["width is True; expected a valid integer"]),
        ({"width": 1}, ["name is missing; expected this key"]),
        (
            {"name": 2},
            ["width is missing; expected this key", "name is 2; expected a valid string"],
        ),
        ({"width": "\x1b" * 500, "name": "a"}, ["width is '\\x1b"]),
    ],
)
def test_each_wrong_key_has_its_line(values: object, lines: list[str]) -> None:
    with pytest.raises(WeightsError) as caught:
        checked(Settings, values, "prior/unet/config.json")
    found = str(caught.value).splitlines()
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert line.startswith(f"prior/unet/config.json: {expected}")
        assert len(line) < 250


def test_what_fits_is_returned() -> None:
    assert checked(Settings, json.loads('{"width": 2, "name": "a", "more": 1}'), "x").width == 2
