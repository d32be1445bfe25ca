"""Which family a transformer's class belongs to."""

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.components import TRANSFORMERS
from dreamfusion_kit.priors.config.transformer_files import check_transformer
from dreamfusion_kit.priors.families.choose import family_of

from .conftest import COMPONENTS, Save, section


def test_every_class_that_is_read_has_its_family() -> None:
    for name in TRANSFORMERS["transformer"]:
        assert family_of(name).transformer_class.__name__ == name


def test_another_class_has_none() -> None:
    with pytest.raises(WeightsError, match="FluxTransformer2DModel"):
        family_of("FluxTransformer2DModel")


@pytest.mark.parametrize("family", sorted(COMPONENTS))
def test_every_family_s_own_directory_passes(saved: Save, family: str) -> None:
    check_transformer(section(), saved(family))
