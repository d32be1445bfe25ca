import pytest

from dreamfusion_kit.field.levels import build_levels
from dreamfusion_kit.recipe.schema import HashGridSection


def test_levels_of_instant_ngp(hash_section: HashGridSection) -> None:
    changes = {"num_levels": 16, "min_resolution": 16, "max_resolution": 4096}
    changes["log2_table_size"] = 19
    levels = build_levels(hash_section.model_copy(update=changes))
    # 3S states the factor 1.447269237440378 for these numbers.
    assert (levels[1].scale + 1) / 16 == pytest.approx(1.447269237440378)
    assert levels[0].scale == 15
    assert levels[0].resolution == 16
    assert levels[-1].scale == pytest.approx(4095)
    assert [level.is_dense for level in levels] == [True] * 5 + [False] * 11
    assert levels[0].num_rows == 16**3
    assert levels[-1].num_rows == 2**19


def test_one_level_is_the_coarsest(hash_section: HashGridSection) -> None:
    (level,) = build_levels(hash_section.model_copy(update={"num_levels": 1}))
    assert level.scale == 3
