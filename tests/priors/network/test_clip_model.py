"""The plain towers against transformers' own class, which shares no code with them."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from dreamfusion_kit import seeding
from dreamfusion_kit.priors.network.clip_files import load_clip_model, read_config
from dreamfusion_kit.priors.network.clip_model import ClipModel

from .tiny_clip import save_tiny_clip


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eos", [1, 2])
def test_features_are_those_of_transformers(tmp_path: Path, eos: int, activation: str) -> None:
    """An end mark of 2 means the rule from before 2023: the highest token id."""
    reference = save_tiny_clip(tmp_path, eos=eos, activation=activation)
    model = load_clip_model(tmp_path)
    pixels = torch.randn(3, 3, 16, 16, generator=seeding.generator(0, "test"))
    tokens = torch.tensor([[0, 7, 30, 1, 1, 1, 1, 1, 1], [0, 5, 49, 20, 9, 8, 7, 6, 1]])
    with torch.no_grad():
        images = reference.get_image_features(pixel_values=pixels).pooler_output
        texts = reference.get_text_features(input_ids=tokens).pooler_output
        torch.testing.assert_close(model.image_features(pixels), images, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.text_features(tokens), texts, rtol=1e-5, atol=1e-5)


WIDTHS = {
    "B/32": {"vision": {"patch_size": 32}},
    "B/16": {"vision": {"patch_size": 16}},
    "L/14": {
        "text": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "patch_size": 14,
        },
    },
    "OpenCLIP H/14": {
        "text": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "hidden_act": "gelu",
        },
        "vision": {
            "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16,
            "num_hidden_layers": 32, "patch_size": 14, "hidden_act": "gelu",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", WIDTHS)
def test_published_architectures_have_the_tensors_of_transformers(
    tmp_path: Path, name: str
) -> None:
    """Names and shapes alone, without memory for the values."""
    config = CLIPConfig(
        text_config=WIDTHS[name].get("text", {}),
        vision_config=WIDTHS[name]["vision"],
        projection_dim=512,
    )
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    with torch.device("meta"):
        ours, theirs = ClipModel(read_config(tmp_path / "config.json")), CLIPModel(config)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    expected = {key: shape for key, shape in expected.items() if "position_ids" not in key}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
