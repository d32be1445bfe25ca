"""Where the toybox's own files lie in a workspace, and the settings to make them."""

from pathlib import Path

from dreamfusion_kit.recipe import load
from dreamfusion_kit.toybox.settings import ToyboxSettings

PARAMS = Path("toybox/params.yaml")
DATASETS = {name: Path(f"toybox/data/{name}.safetensors") for name in ("dataset", "clip_dataset")}
WEIGHTS = Path("dreamfusion_kit/toybox/weights")
VAE = WEIGHTS / "latent" / "vae"
METRICS = Path("toybox/metrics/toybox-models.json")


def settings(workspace: Path) -> ToyboxSettings:
    """Read toybox/params.yaml."""
    return load.validate(load.load_yaml(workspace / PARAMS), ToyboxSettings)


def latent_inputs(workspace: Path, text_from: str) -> list[Path]:
    """Return what the trainings on latents read: the autoencoder, and the text encoder."""
    text = workspace / text_from
    return [workspace / VAE, text / "tokenizer", text / "text_encoder"]
