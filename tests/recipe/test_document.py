"""Problems of several files, collected into one error."""

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import Complaints


def test_complaints_come_together_in_their_order_and_once() -> None:
    complaints = Complaints()
    for text in ("a.yaml:1: x\na.yaml:2: y", "b.yaml:1: z", "a.yaml:1: x"):
        with complaints.collected():
            raise RecipeError(text)
    complaints.add(["c.yaml:3: w", "b.yaml:1: z"])
    with pytest.raises(RecipeError) as caught:
        complaints.raise_any()
    lines = ["a.yaml:1: x", "a.yaml:2: y", "b.yaml:1: z", "c.yaml:3: w"]
    assert str(caught.value).splitlines() == lines


def test_without_complaints_nothing_is_raised() -> None:
    complaints = Complaints()
    with complaints.collected():
        pass
    complaints.raise_any()


def test_other_errors_are_not_kept() -> None:
    with pytest.raises(ZeroDivisionError), Complaints().collected():
        _ = 1 // 0
