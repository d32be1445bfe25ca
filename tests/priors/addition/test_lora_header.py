"""What a LoRA's header says of its strength; test_lora_merge.py applies it."""

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.lora_header import Scaling, read_scalings


def test_settings_are_read_by_component() -> None:
    header = '{"unet.lora_alpha": 4, "unet.r": 8, "text_encoder.use_rslora": true}'
    found = read_scalings({"lora_adapter_metadata": header}, "lora.safetensors")
    assert found == {"unet": Scaling(4.0), "text_encoder": Scaling(None, rank_stabilized=True)}
    assert read_scalings({"format": "pt"}, "lora.safetensors") == {}


@pytest.mark.parametrize(
    ("alpha", "rank_stabilized", "own_alpha", "expected"),
    [
        (None, True, None, 1.0),
        (8.0, False, None, 0.5),
        (8.0, True, None, 2.0),
        (8.0, False, 4.0, 0.25),
    ],
)
def test_a_layer_of_rank_16(
    alpha: float | None, rank_stabilized: bool, own_alpha: float | None, expected: float
) -> None:
    scaling = Scaling(alpha, rank_stabilized=rank_stabilized)
    assert scaling.strength(16, own_alpha) == expected


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ('{"unet.lora_alpha": [1]}', r"unet\.lora_alpha is \[1\]; expected a finite number"),
        ('{"unet.lora_alpha": "x"}', "expected a finite number"),
        ('{"unet.lora_alpha": true}', "expected a finite number"),
        ('{"unet.lora_alpha": NaN}', "expected a finite number"),
        ('{"unet.lora_alpha": 1%s}' % ("0" * 400), "expected a finite number"),
        ('{"unet.use_rslora": 1}', "expected true or false"),
        ('{"unet.alpha_pattern": {"x": 1}}', "has an alpha of its own for some layers"),
        ("[", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ("[]", "expected a JSON object"),
    ],
)
def test_a_damaged_header_is_refused(header: str, said: str) -> None:
    with pytest.raises(WeightsError, match=rf"^lora\.safetensors: .*{said}"):
        read_scalings({"lora_adapter_metadata": header}, "lora.safetensors")
