"""The strict YAML reader, with ruamel.yaml (the reader that DVC uses) as its oracle."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.yaml_text import MAX_DEPTH, dump, parse, scalar

_SCALARS = (
    *("1e-3", "1E5", "1.e3", "+1.5", "-0.0", ".5", ".5e3", ".5e+3", "1_000", "1_0.5", "0.1_5"),
    *("010", "0o10", "0o8", "08", "+0o17", "0x1F", "-0xff", "0b101", "0b12", "-5", "+7", "_5"),
    *("on", "off", "yes", "No", "y", "n", "true", "True", "TRUE", "tRUE", "false", "False"),
    *("null", "Null", "NULL", "~", "nULL", "none", "", "190:20:30", "1:30", "12e", "e5", "0x"),
    *("1.2.3", "1,5", "- 5", "--5", "infinity", "nan", "inf", "0o", "1e", "1e+", "toybox", "a: b"),
)


@pytest.mark.parametrize("text", [text for text in _SCALARS if text not in ("- 5", "a: b")])
def test_plain_scalars_are_read_as_dvc_reads_them(text: str) -> None:
    value = parse(f"key: {text}", "f.yaml").data["key"]
    expected = YAML(typ="safe", pure=True).load(f"key: {text}")["key"]
    assert (type(value), value) == (type(expected), expected)


@settings(deadline=None)  # a busy machine is not a failure
@given(st.from_regex(r"[-+]?[0-9_.xob]{1,6}([eE][-+]?[0-9]{1,2})?", fullmatch=True))
def test_numbers_are_read_as_dvc_reads_them(text: str) -> None:
    try:
        expected = YAML(typ="safe", pure=True).load(f"key: {text}")["key"]
    except ValueError:  # ruamel.yaml itself fails on the likes of "-_" and "0b_"
        return
    value = parse(f"key: {text}", "f.yaml").data["key"]
    assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize("text", ["2024-01-31", "2024-01-31 10:20:30"])
def test_dates_stay_text(text: str) -> None:
    assert parse(f"key: {text}", "f.yaml").data == {"key": text}


def test_every_key_and_item_has_its_line() -> None:
    document = parse("a:\n  b: 1\n\n  # comment\n  c:\n  - x\n  - y: 2\n", "f.yaml")
    lines = {path: place.line for path, place in document.places.items()}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
        ("a", "c", 1, "y"): 7,
    }
    assert document.place(("a", "c", 1, "z", 0)).line == 7


_BOMB = "a: &a [x, x]\nb: &b [*a, *a]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml:1: found an empty file, expected a mapping of keys"),
        ("# only a comment\n", "f.yaml:1: found an empty file, expected a mapping of keys"),
        ("- 1\n", "f.yaml:1: found a list, expected a mapping of keys"),
        ("word\n", "f.yaml:1: found a single value, expected a mapping of keys"),
        ("a: 1\na: 2\n", "f.yaml:2: a: duplicate key, first on line 1"),
        (
            "s:\n  a: 1\n  a: 2\nb: .nan\nc: -.inf\n",
            "f.yaml:3: s.a: duplicate key, first on line 2\n"
            "f.yaml:4: b: found .nan, expected a finite number\n"
            "f.yaml:5: c: found -.inf, expected a finite number",
        ),
        ("a: 1e999\n", "f.yaml:1: a: found 1e999, expected a finite number"),
        ("a: -_\n", "f.yaml:1: a: found -_, expected a number that can be read"),
        ("1: a\n", "f.yaml:1: found the key 1, expected text: put it in quotes"),
        ("s: {true: a}\n", "f.yaml:1: s: found the key true, expected text: put it in quotes"),
        ("? [a]\n: b\n", "f.yaml:1: found a list as a key, expected text"),
        (
            "a: b: c\n",
            "f.yaml:1: found `: ` inside a value, expected the value in quotes, or one key per "
            "line with the same indent as its neighbours",
        ),
        ("a: 1\nb: [1, 2\n", "f.yaml:3: expected ',' or ']', but got '<stream end>'"),
        ("a:\n\tc: d\n", "f.yaml:2: found a tab, expected spaces before a key or value"),
        ("a: @b\n", "f.yaml:1: found @ at the start of a value, expected the value in quotes"),
        ("?\n: a\n", "f.yaml:1: found a value without a key, expected `key: value`"),
        ("~: a\n", "f.yaml:1: found the key ~, expected text: put it in quotes"),
        ("1.5: a\n", "f.yaml:1: found the key 1.5, expected text: put it in quotes"),
        ("9e999: a\n", "f.yaml:1: found the key 9e999, expected text: put it in quotes"),
        ("? {a: b}\n: b\n", "f.yaml:1: found a mapping as a key, expected text"),
        ('"\\ud800": 1\n', "f.yaml:1: found half of a surrogate pair, expected Unicode text"),
        ('a: "\\U00110000"\n', "f.yaml:1: found an escape beyond U+10FFFF, expected a character"),
        ('a: "\\UFFFFFFFF"\n', "f.yaml:1: found an escape beyond U+10FFFF, expected a character"),
        (
            "%YAML 1." + "9" * 5000 + "\n---\na: 1\n",
            "f.yaml:1: found a huge number as %YAML version, expected %YAML 1.2",
        ),
        (
            "%YAML " + "9" * 5000 + ".1\n---\na: 1\n",
            "f.yaml:1: found a huge number as %YAML version, expected %YAML 1.2",
        ),
        (
            "a: !%0Aparams.yaml:%20ok 1\n",
            "f.yaml:1: found the tag !\\nparams.yaml: ok, expected plain YAML without tags",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: found another document (---), expected one per file"),
        ("a: 1\nb: \x07\n", "f.yaml:2: found the character U+0007, expected printable text"),
        ('a: "\\ud800"\n', "f.yaml:1: a: found half of a surrogate pair, expected Unicode text"),
        (
            _BOMB,
            "f.yaml:1: found an anchor or alias (& or *), expected values written out",
        ),
        ("a: *x\n", "f.yaml:1: found an anchor or alias (& or *), expected values written out"),
        (
            "a: !!python/object/apply:os.system [id]\n",
            "f.yaml:1: found the tag tag:yaml.org,2002:python/object/apply:os.system, "
            "expected plain YAML without tags",
        ),
        ("a: " + "[" * 100, f"f.yaml:1: found more than {MAX_DEPTH} levels, expected flatter data"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == message


def test_a_merge_key_is_an_ordinary_key() -> None:
    assert parse("<<: {a: 1}\n", "f.yaml").data == {"<<": {"a": 1}}


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "F" * 4000])
def test_a_number_too_long_to_read_is_refused(number: str) -> None:
    with pytest.raises(RecipeError, match="expected a number that can be read"):
        parse(f"a: {number}", "f.yaml")


_printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"))
)
_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _printable
    | st.sampled_from(_SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_printable, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is not a failure
@given(st.dictionaries(st.text("abc", min_size=1), _data, min_size=1, max_size=4))
def test_what_is_written_reads_back(data: dict[str, object]) -> None:
    assert parse(dump(data), "f.yaml").data == data  # pyright: ignore[reportArgumentType]


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(st.characters(codec="utf-8")) | st.sampled_from(_SCALARS))
@example("a\x85mug")  # YAML reads U+0085 as the end of a line, and a line's end as a space
def test_a_scalar_reads_back_as_the_same_text(text: str) -> None:
    assert parse(f"key: {scalar(text)}\n", "f.yaml").data == {"key": text}


def test_a_byte_that_is_not_utf8_is_refused_where_it_is_read() -> None:
    """Python hands over a command line's bytes so; the file can be written all the same."""
    text = f"key: {scalar('caf' + chr(0xDCE9))}\n"
    assert text.isascii()
    with pytest.raises(RecipeError, match="half of a surrogate pair"):
        parse(text, "f.yaml")


def test_plain_words_stay_bare() -> None:
    assert scalar("a red mug") == "a red mug"
    assert scalar("it's") == "it's"
    assert scalar("1e3") == '"1e3"'
    assert scalar("2026-11-28") == '"2026-11-28"'  # a date to DVC
