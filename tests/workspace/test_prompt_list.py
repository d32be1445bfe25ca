"""Lists of prompts, as others write them and as they break."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.workspace import prompt_list
from dreamfusion_kit.workspace.prompt_list import Entry, read


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def prompts(path: Path) -> list[str]:
    return [entry.prompt for entry in read(path)]


def test_text_has_one_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "list.txt", "\ufeffa red mug\r\n\n  a blue mug \n# 1 fan\n")
    assert read(path) == [
        Entry("line 1", "a red mug"),
        Entry("line 3", "a blue mug"),
        Entry("line 4", "# 1 fan"),
    ]


@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_lists_of_prompts_and_of_objects(tmp_path: Path, ending: str) -> None:
    text = '["a red mug", {"prompt": "a cat", "id": "cat", "recipe": "sd21", "seed": 3}]'
    assert read(write(tmp_path, f"list.{ending}", text)) == [
        Entry("[0]", "a red mug"),
        Entry("[1]", "a cat", "cat", "sd21", 3),
    ]


def test_a_yaml_list_on_lines_of_its_own(tmp_path: Path) -> None:
    assert prompts(write(tmp_path, "list.yaml", "- a red mug\n- a cat\n")) == ["a red mug", "a cat"]


def test_prompt_libraries_are_objects_of_lists(tmp_path: Path) -> None:
    library = {"animals": ["a cat", "a dog"], "food": ["a pie"]}
    found = read(write(tmp_path, "library.json", json.dumps(library)))
    assert [(entry.place, entry.prompt) for entry in found] == [
        ("animals[0]", "a cat"),
        ("animals[1]", "a dog"),
        ("food[0]", "a pie"),
    ]


def test_csv_has_columns_and_quotes(tmp_path: Path) -> None:
    text = 'seed,prompt,id\n3,"a cat, asleep",cat\n,"a ""big"" dog",\n'
    assert read(write(tmp_path, "list.csv", text)) == [
        Entry("line 2", "a cat, asleep", "cat", None, 3),
        Entry("line 3", 'a "big" dog'),
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("list.txt", "", "found no prompt"),
        ("list.txt", "\n \n", "found no prompt"),
        ("list.pdf", "a cat", "found a .pdf, expected .txt, .json, .csv or .yaml"),
        ("list", "a cat", "found a file without ending"),
        ("list.txt", b"a caf\xe9", "found byte 0xe9, expected UTF-8 text"),
        ("list.json", "[", "expected JSON"),
        ("list.json", '{"a": 1}', "a: found 1, expected a list of prompts"),
        ("list.json", '{"a": ["x"], "a": ["y"]}', "found a key twice"),
        ("list.json", "3", "the whole: found 3, expected a prompt"),
        ("list.json", "[1]", "[0]: found 1, expected a prompt or an object with one"),
        ("list.json", '[{"id": "x"}]', "[0]: found no prompt"),
        ("list.json", '[{"prompt": "x", "sed": 1}]', "[0]: found the key 'sed'"),
        ("list.json", '[{"prompt": "x", "seed": "1"}]', "[0]: seed: found '1'"),
        ("list.json", '[{"prompt": "x", "seed": true}]', "[0]: seed: found True"),
        ("list.json", '[{"prompt": "x", "id": 3}]', "[0]: id: found 3, expected text"),
        ("list.json", "[" * 100_000, "found too many levels"),
        ("list.json", "[" + "9" * 10_000 + "]", "expected JSON"),
        ("list.yaml", "- &a x\n- *a\n", "found an anchor or alias"),
        ("list.csv", "a cat\n", "found the columns ['a cat'], expected prompt"),
        ("list.csv", "prompt,prompt\na,b\n", "each once"),
        ("list.csv", "prompt,id\na cat, asleep,x\n", "line 2: found 3 columns, expected 2"),
        ("list.csv", 'prompt\n"a cat\n', "expected CSV"),
        ("list.csv", "prompt,colour\na cat,red\n", "line 2: found the key 'colour'"),
        ("list.csv", "prompt,seed\na cat,-1\n", "line 2: seed: found '-1'"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str | bytes, expected: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read(write(tmp_path, name, content))
    message = str(caught.value)
    assert expected in message
    assert name in message
    assert "\n" not in message


def test_folders_pipes_and_large_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="found a directory, expected a list of prompts"):
        read(tmp_path)
    monkeypatch.setattr(prompt_list, "MAX_BYTES", 10)
    with pytest.raises(RecipeError, match="found more than 10 bytes, expected a small list of pr"):
        read(write(tmp_path, "list.txt", "a red mug and more"))


def test_many_prompts_and_many_problems_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "list.txt", "x\n" * (prompt_list.MAX_PROMPTS + 1))
    with pytest.raises(RecipeError, match="found more than 10000 prompts, expected fewer"):
        read(path)
    with pytest.raises(RecipeError) as caught:
        read(write(tmp_path, "list.json", json.dumps([1] * 100)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("and 80 more problems")


_PROMPT = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"], include_characters=",\"'#: "), min_size=1
).filter(str.strip)


@given(found=st.lists(_PROMPT, min_size=1, max_size=8))
def test_each_kind_of_file_gives_the_same_prompts(
    tmp_path_factory: pytest.TempPathFactory, found: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("lists")
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["prompt"], *([prompt] for prompt in found)])
    expected = [prompt.strip() for prompt in found]
    assert prompts(write(tmp_path, "list.csv", stream.getvalue())) == expected
    assert prompts(write(tmp_path, "list.json", json.dumps(found))) == expected
    assert prompts(write(tmp_path, "list.txt", "\n".join(found))) == expected
