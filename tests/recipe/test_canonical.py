"""Canonical JSON and identities."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamfusion_kit.recipe.canonical import canonical_json, identity
from dreamfusion_kit.recipe.schema import LinearSchedule

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)  # a busy machine is not a failure
@given(_json)
def test_it_reads_back_as_equal_data(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@settings(deadline=None)  # a busy machine is not a failure
@given(st.dictionaries(st.text(), _json, max_size=4))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert identity(dict(reversed(value.items()))) == identity(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0, -0.0), (10**22, 1e22), ([1, 2], (1.0, 2)), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_equal_values_have_one_identity(one: object, other: object) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, "1"), (0, None), ([], {}), (0.1, 0.1 + 2**-56), ([1, 2], [2, 1])],
)
def test_different_values_have_different_identities(one: object, other: object) -> None:
    assert identity(one) != identity(other)


def test_the_identity_is_the_hash_of_the_text() -> None:
    expected = hashlib.sha256(b'{"a":[1,0.5,null],"b":"\\u00e9"}').hexdigest()
    assert identity({"b": "é", "a": [1.0, 0.5, None]}) == expected


def test_a_section_stands_for_its_data() -> None:
    schedule = LinearSchedule(start=0, end=1, from_step=0, to_step=5)
    assert identity(schedule) == identity({"start": 0, "end": 1, "from_step": 0, "to_step": 5})


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, {"a": {1, 2}}, object()])
def test_what_json_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="found"):
        canonical_json(value)
