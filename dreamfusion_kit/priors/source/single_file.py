"""One `.safetensors` file with a whole Stable Diffusion, as its trainers and communities share it.

Such a file has the original repository's names (`model.diffusion_model.`, `first_stage_model.`,
`cond_stage_model.` or `conditioner.embedders.`), and neither configurations nor a tokenizer. It
is converted once, without a network, into a diffusers directory that everything else reads:
weights are renamed by diffusers' own functions, configurations follow from the tensors' shapes
(`single_file_config.py`), and CLIP's vocabulary comes with the kit. Numbers do not change, and
equal files give equal directories, to the byte.
"""

import gzip
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffusers.loaders import single_file_utils
from huggingface_hub import constants
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.files import sha256
from dreamfusion_kit.priors.config.distilled import refuse_distilled_header
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.priors.source import single_file_config as layout
from dreamfusion_kit.priors.source.single_file_config import Shapes
from dreamfusion_kit.recipe.schema import FileSourceSection

_VERSION = 1  # counts changes of what a conversion writes
_VOCABULARY = Path(__file__).parent / "clip_vocabulary" / "merges.txt.gz"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_CLIP_LENGTH = 77
_WEIGHTS = "diffusion_pytorch_model.safetensors"
# Raised by diffusers' functions that rename, where a tensor is missing or of another rank, and
# by `_read`.
NOT_RENAMED = (LookupError, RuntimeError, TypeError, ValueError)


def converted_directory(source: FileSourceSection) -> Path:
    """Return where the converted model is kept, beside the hub's cache, converted or not."""
    name = f"{source.sha256}-{source.prediction_type}-{_VERSION}"
    return Path(constants.HF_HOME) / "dreamfusion-kit" / "converted" / name


def convert(source: FileSourceSection, file: Path) -> Path:
    """Return the diffusers directory made from `file`, which is converted if it was not yet.

    Raises WeightsError if the file is not the pinned one, holds no Stable Diffusion of the
    original layout, or says that it is distilled.
    """
    target = converted_directory(source)
    if target.is_dir():
        return target
    actual = sha256(file)
    if actual != source.sha256:
        raise WeightsError(
            f"{source.path}: has the sha256 {actual}; expected {source.sha256}, which the recipe "
            "pins; restore the file, or write its hash into prior.source.sha256"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        _write(source, file, partial)
        try:
            partial.replace(target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(source: FileSourceSection, file: Path, target: Path) -> None:
    place = source.path
    try:
        with safe_open(file, framework="pt") as opened:
            shapes = {
                name: tuple(opened.get_slice(name).get_shape()) for name in list(opened.keys())
            }
            # Read first: nothing is written for a file of another layout or a distilled model.
            refuse_distilled_header(opened.metadata() or {}, place)
            configs = layout.read_configs(shapes, place, source.prediction_type)
            _write_configs(configs, target)
            _save_unet(opened, shapes, configs["unet"], target)
            _save_vae(opened, shapes, configs["vae"], target)
            _save_encoders(opened, shapes, configs, target)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{place}: cannot be read ({printable(str(error))}); expected a safetensors file "
            "with a whole Stable Diffusion; restore it or choose another prior.source"
        ) from None
    except NOT_RENAMED as error:
        raise WeightsError(
            f"{place}: a tensor is missing or not of the kind that an SD 1, SD 2 or SDXL has "
            f"({printable(str(error), 80)}); expected a whole one in the original layout; restore "
            "it or choose another prior.source"
        ) from None
    for suffix in ("", "_2"):
        if f"text_encoder{suffix}" in configs:
            # OpenCLIP pads with token 0, CLIP with its end.
            pad = "!" if configs[f"text_encoder{suffix}"]["hidden_act"] == "gelu" else _END
            _write_tokenizer(target / f"tokenizer{suffix}", pad)


def _write_configs(configs: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    for folder, config in configs.items():
        (target / folder).mkdir()
        name = "scheduler_config.json" if folder == "scheduler" else "config.json"
        _write_json(target / folder / name, config)
    classes = {
        folder: config.get("_class_name") or config["architectures"][0]
        for folder, config in configs.items()
    }
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    if "text_encoder_2" in configs:
        index = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
        index["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    for folder, name in classes.items():
        index[folder] = ["transformers" if name.startswith("CLIP") else "diffusers", name]
    _write_json(target / "model_index.json", index)


def _save_unet(file: Any, shapes: Shapes, config: Mapping[str, Any], target: Path) -> None:
    tensors = _read(file, shapes, layout.UNET)
    _save(
        single_file_utils.convert_ldm_unet_checkpoint(tensors, config), target / "unet" / _WEIGHTS
    )


def _save_vae(file: Any, shapes: Shapes, config: Mapping[str, Any], target: Path) -> None:
    tensors = _read(file, shapes, layout.VAE)
    _save(single_file_utils.convert_ldm_vae_checkpoint(tensors, config), target / "vae" / _WEIGHTS)


def _save_encoders(
    file: Any, shapes: Shapes, configs: Mapping[str, Mapping[str, Any]], target: Path
) -> None:
    for folder, prefix, is_open_clip in layout.encoders(shapes):
        tensors = _read(file, shapes, prefix)
        if is_open_clip:
            kept = configs[folder]["num_hidden_layers"]
            tensors = {
                name: tensor
                for name, tensor in tensors.items()
                if layout.block_of(name.removeprefix(prefix)) < kept
            }
            size = configs[folder]["hidden_size"]
            model = SimpleNamespace(config=SimpleNamespace(hidden_size=size))
            named = single_file_utils.convert_open_clip_checkpoint(model, tensors, prefix=prefix)
            if configs[folder]["architectures"] == ["CLIPTextModel"]:
                named.pop("text_projection.weight", None)
        else:
            named = single_file_utils.convert_ldm_clip_checkpoint(tensors, remove_prefix=prefix)
        # Some files have these names without their first part, and a buffer that is a count.
        named = {
            name if name.startswith("text_") else f"text_model.{name}": tensor
            for name, tensor in named.items()
            if not name.endswith("position_ids")
        }
        _save(named, target / folder / "model.safetensors")


def _read(file: Any, shapes: Shapes, prefix: str) -> dict[str, Tensor]:
    """Return a component's tensors; raise TypeError if its weights are not floats."""
    found = {name: file.get_tensor(name) for name in shapes if name.startswith(prefix)}
    for name, tensor in found.items():
        if not (tensor.is_floating_point() or name.endswith("position_ids")):
            raise TypeError(f"{name} is of {tensor.dtype}")
    return found


def _save(tensors: Mapping[str, Tensor | None], path: Path) -> None:
    # `clone`: some are slices of one tensor, which safetensors refuses to write.
    found = {name: rows.contiguous().clone() for name, rows in tensors.items() if rows is not None}
    save_file(found, path, metadata={"format": "pt"})


def _write_tokenizer(folder: Path, pad: str) -> None:
    """Write CLIP's byte-pair vocabulary: all bytes, the same at a word's end, then the merges."""
    folder.mkdir()
    merges = gzip.decompress(_VOCABULARY.read_bytes()).decode("utf-8")
    letters = sorted(ByteLevel.alphabet())  # CLIP numbers its bytes in this order
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [merge.replace(" ", "") for merge in merges.splitlines()] + [_START, _END]
    _write_json(folder / "vocab.json", {piece: index for index, piece in enumerate(pieces)})
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8", newline="\n")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": _CLIP_LENGTH,
            "bos_token": _START,
            "eos_token": _END,
            "unk_token": _END,
            "pad_token": pad,
        },
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=1, sort_keys=path.name != "vocab.json") + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
