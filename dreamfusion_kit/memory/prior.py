"""The memory that a prior takes on its device, from its configuration alone.

Its modules are built on the meta device and called as the guidance calls them; `LiveMemory`
counts. Batches and ranks beyond any in use are read off a line. A denoiser's attention is counted
for the fused kernels, which never hold the scores of all pairs. Where a gradient goes back
through the attention, the scores are held, as on CUDA (see `attention.py`); a CPU takes less.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

import torch
from diffusers import (
    AuraFlowTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import CLIPConfig, CLIPModel

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.memory.architectures import PUBLISHED, Components, Config
from dreamfusion_kit.memory.line import extrapolate
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.priors import fetch, offload
from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.components import read_config
from dreamfusion_kit.priors.families.choose import FAMILIES, family_of
from dreamfusion_kit.priors.json_file import read_object
from dreamfusion_kit.priors.lora import LoraDenoiser
from dreamfusion_kit.priors.model_files import check_configs
from dreamfusion_kit.priors.resize import resized
from dreamfusion_kit.priors.single_file import converted_directory
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema

CLIP_TOKENS = 77  # every CLIP's length, and the length that IF's T5 is padded to
# Beyond these, counts are extrapolated on a line. Both are far above what fits a device.
_LARGEST_BATCH, _LARGEST_RANK = 64, 64
_CLASSES: Mapping[str, Any] = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "AuraFlowTransformer2DModel": AuraFlowTransformer2DModel,
    "AutoencoderKL": AutoencoderKL,
    **{family.transformer_class.__name__: family.transformer_class for family in FAMILIES},
    **{family.vae_class.__name__: family.vae_class for family in FAMILIES},
}


@dataclass(frozen=True)
class PriorMemory:
    """Bytes on the device. Activations of one forward are freed before the next begins.

    `encoder` is what a gradient passes on its way to the image: a VAE's encoder, or a CLIP.
    `encoded` are its activations that wait for the gradient while the denoiser predicts,
    `encoding` its peak memory, forward and backward. `phi` is VSD's second
    denoiser with gradient and moments, `learning` what its backward pass holds. `moved` is what
    of the denoiser is on the device at once where its blocks are moved in one by one.
    """

    denoiser: int = 0
    predicting: int = 0
    encoder: int = 0
    encoded: int = 0
    encoding: int = 0
    phi: int = 0
    learning: int = 0
    moved: int = 0


def components(section: schema.PriorSection, workspace: Path) -> tuple[Components, str]:
    """Return the configurations of what is in memory during an optimisation, and their origin.

    They are read from the model's own files once it has been fetched, else from `architectures`.

    Raises:
        WeightsError: where there are neither files nor a known architecture.
    """
    source = section.source
    if source is None:
        return {}, "a formula"
    try:
        directory = _present(source, workspace)
        configs = {name: _config(directory, name) for name in section.folders}
    except WeightsError as error:
        published = source.kind == "hub" and PUBLISHED.get(source.repository)
        if published:
            return published, "its published architecture; it is not fetched yet"
        raise WeightsError(
            f"prior.source: no configuration of this model is here ({error}); expected a fetched "
            f"model, or one of {', '.join(PUBLISHED)}, whose sizes are known without; run "
            f"`{command_name()} fetch` or put the files in their place"
        ) from error
    check_configs(section, directory)  # a model that does not fit the recipe is not counted
    return configs, "its own files"


def prior_memory(
    section: schema.PriorSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    *,
    batch_size: int,
    render_size_px: int,
) -> PriorMemory:
    """Return the memory of `batch_size` renders of `render_size_px`.

    Args:
        section: The recipe's prior: number formats and the size of its images.
        guidance: Decides how many texts are read, and whether a second denoiser learns.
        parts: The configurations that `components` gave.
        batch_size: Renders per step.
        render_size_px: Their side, from which they are resized.
    """

    def count(batch: int) -> PriorMemory:
        match section:
            case schema.AnalyticSection():
                return PriorMemory()
            case schema.ClipPriorSection():
                return _clip(parts["clip"], batch, render_size_px)
            case schema.PixelUnetSection():
                unet = on_meta(parts["unet"], section.dtype)
                return _denoiser(unet, guidance, batch, unet.config["sample_size"], CLIP_TOKENS)
            case schema.LatentTransformerSection():
                return _transformer(section, guidance, parts, batch, render_size_px)
            case schema.LatentUnetSection():
                denoiser, num_tokens = _stored(parts["unet"], section), CLIP_TOKENS
            case schema.FlowTransformerSection():
                denoiser = _stored(parts["transformer"], section)
                num_tokens = section.t5_tokens
                num_tokens += CLIP_TOKENS if _reads_clip_too(denoiser) else 0
            case _:
                assert_never(section)
        vae = _encoder(parts["vae"], section.vae_dtype)
        encoder, side = _encode(vae, batch, render_size_px, section.image_size_px)
        found = _denoiser(denoiser, guidance, batch, side, num_tokens)
        return replace(
            found, encoder=encoder.encoder, encoded=encoder.encoded, encoding=encoder.encoding
        )

    return extrapolate(count, batch_size, most=_LARGEST_BATCH)


def on_meta(config: Config, dtype: str) -> Any:
    """Return the model of a `config.json`, frozen, with shapes but no numbers."""
    name: str = config.get("_class_name", "model without a class")
    if name not in _CLASSES:
        raise WeightsError(
            f"prior.source: its configuration is that of a {name}; expected one of "
            f"{', '.join(_CLASSES)}; choose another prior.source"
        )
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device("meta"):
        model = _CLASSES[name].from_config(public)
    # Not with diffusers' own `to`, which warns about precision, as if there were numbers.
    return torch.nn.Module.to(model, getattr(torch, dtype)).eval().requires_grad_(False)


def _present(source: schema.ModelSourceSection, workspace: Path) -> Path:
    if not isinstance(source, schema.FileSourceSection):
        return fetch.present(source, workspace)
    directory = converted_directory(source)
    if not directory.is_dir():
        raise WeightsError(f"{source.path}: not converted yet; run the fetch stage")
    return directory


def _stored(config: Config, section: offload.Section) -> Any:
    """Return a denoiser on the meta device in the format in which its weights wait."""
    model = on_meta(config, section.dtype)
    offload.store(model, section)
    return model


def _moved_at_once(model: torch.nn.Module) -> int:
    """Return the bytes on the device where blocks are moved in one by one, at their most.

    As diffusers groups them: the members of lists move, all that is outside of lists stays.
    """
    blocks = [
        block
        for child in model.children()
        if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential)
        for block in child
    ]
    sizes = [module_bytes(block) for block in blocks]
    return module_bytes(model) - sum(sizes) + max(sizes, default=0)


def module_bytes(module: torch.nn.Module) -> int:
    """Return the memory of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*module.parameters(), *module.buffers()])


def _config(directory: Path, name: str) -> Config:
    if name != "clip":
        return read_config(directory, name)
    return read_object(directory / "config.json")  # a CLIP's directory is its only component


def _encoder(config: Config, dtype: str) -> Any:
    """Return a VAE as the priors keep it: without its decoder."""
    vae = on_meta(config, dtype)
    del vae.decoder, vae.post_quant_conv
    return vae


def _reads_clip_too(denoiser: Any) -> bool:
    """Return whether CLIP's tokens precede T5's, as in Stable Diffusion 3."""
    return isinstance(denoiser, SD3Transformer2DModel)


def _encode(vae: Any, batch: int, render_size_px: int, size_px: int) -> tuple[PriorMemory, int]:
    """Return the encoder's part, and the side of the latents."""
    images = _renders(batch, render_size_px)
    with LiveMemory() as memory, torch.device("meta"):
        pixels = to_pixel_space(images, size_px).to(vae.dtype)
        latents = vae.encode(pixels).latent_dist.mode()
        del pixels
        waiting = memory.alive_bytes
        torch.autograd.grad(latents, images, torch.empty_like(latents))
    found = PriorMemory(encoder=module_bytes(vae), encoded=waiting, encoding=memory.peak_bytes)
    return found, latents.shape[-1]


def _transformer(
    section: schema.LatentTransformerSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    batch: int,
    render_size_px: int,
) -> PriorMemory:
    """Return the memory of one of the families, called as the prior calls it."""
    model = _stored(parts["transformer"], section)
    vae = on_meta(parts["vae"], section.vae_dtype)
    family = family_of(type(model).__name__)
    family.drop_decoder(vae)
    images = _renders(batch, render_size_px)
    with LiveMemory() as memory, torch.device("meta"):
        signed = to_pixel_space(images, section.image_size_px).to(vae.dtype)
        latents = family.encode_images(vae, signed)
        del signed
        waiting = memory.alive_bytes
        torch.autograd.grad(latents, images, torch.empty_like(latents))
    noisy = latents.detach()

    def predict(denoiser: Any, num_texts: int = 1) -> Tensor:
        rows, dtype = num_texts * batch, model.dtype
        text = family.text_like(model.config, rows, section.text_tokens)
        text = {name: values.to(dtype) for name, values in text.items()}
        inputs = torch.empty(rows, *noisy.shape[1:], dtype=dtype)
        return family.call(denoiser, inputs, torch.empty(rows), text)

    with LiveMemory() as forward, torch.device("meta"), _FusedAttention(), torch.no_grad():
        predict(model, guidance.num_texts)
    found = PriorMemory(
        denoiser=module_bytes(model),
        moved=_moved_at_once(model),
        predicting=forward.peak_bytes,
        encoder=module_bytes(vae),
        encoded=waiting,
        encoding=memory.peak_bytes,
    )
    return _with_phi(found, model, guidance, noisy, predict)


def _renders(batch: int, side: int) -> Tensor:
    """Return rendered views, which count as the field's memory."""
    return torch.empty(batch, 3, side, side, device="meta", requires_grad=True)


def _denoiser(
    model: Any, guidance: schema.GuidanceSection, batch: int, side: int, num_tokens: int
) -> PriorMemory:
    with LiveMemory() as memory, torch.device("meta"), _FusedAttention(), torch.no_grad():
        _predict(model, guidance.num_texts * batch, side, num_tokens)
    found = PriorMemory(
        denoiser=module_bytes(model), moved=_moved_at_once(model), predicting=memory.peak_bytes
    )
    noisy = torch.empty(batch, model.config["in_channels"], side, side, device="meta")

    def predict(adapted: Any) -> Tensor:
        return _predict(adapted, batch, side, num_tokens)[:, : noisy.shape[1]]

    return _with_phi(found, model, guidance, noisy, predict)


def _with_phi(
    found: PriorMemory,
    model: Any,
    guidance: schema.GuidanceSection,
    noisy: Tensor,
    predict: Callable[[Any], Tensor],
) -> PriorMemory:
    """Add VSD's second denoiser, if the guidance trains one; `predict` is how it is called."""
    if guidance.adapter_rank is None:
        return found
    phi = extrapolate(
        lambda rank: _phi(model, rank, noisy, predict), guidance.adapter_rank, most=_LARGEST_RANK
    )
    # Another network beside the prior has weights of its own; of the same family, so as many.
    weights = 0 if guidance.phi_source is None else found.denoiser
    return replace(found, phi=weights + phi.phi, learning=phi.learning)


def _predict(model: Any, rows: int, side: int, num_tokens: int) -> Tensor:
    """Call the denoiser on `rows` images; its configuration says what else it reads."""
    config, dtype = model.config, model.dtype
    noisy = torch.empty(rows, config["in_channels"], side, side, dtype=dtype)
    if isinstance(model, UNet2DConditionModel):
        width = config["encoder_hid_dim"] or config["cross_attention_dim"]
        text = torch.empty(rows, num_tokens, width, dtype=dtype)
        timestep = torch.empty(rows, dtype=torch.int64)
        added = _size_and_crop(config, rows, dtype)
        return model(noisy, timestep, text, added_cond_kwargs=added).sample
    text = torch.empty(rows, num_tokens, config["joint_attention_dim"], dtype=dtype)
    arguments = {"encoder_hidden_states": text, "timestep": torch.empty(rows, dtype=dtype)}
    if isinstance(model, SD3Transformer2DModel):
        pooled = torch.empty(rows, config["pooled_projection_dim"], dtype=dtype)
        arguments["pooled_projections"] = pooled
    return model(hidden_states=noisy, **arguments).sample


def _size_and_crop(config: Config, rows: int, dtype: torch.dtype) -> dict[str, Tensor] | None:
    """Return SDXL's additional conditions."""
    if config["addition_embed_type"] != "text_time":
        return None
    num_times = 6
    pooled = (
        config["projection_class_embeddings_input_dim"]
        - num_times * config["addition_time_embed_dim"]
    )
    return {
        "text_embeds": torch.empty(rows, pooled, dtype=dtype),
        "time_ids": torch.empty(rows, num_times, dtype=dtype),
    }


def _phi(model: Any, rank: int, noisy: Tensor, predict: Callable[[Any], Tensor]) -> PriorMemory:
    """Return the bytes of VSD's adapter with gradient and moments, and of its backward pass."""

    def denoise(adapted: Any, *_: Any) -> Tensor:
        return predict(adapted)

    meta = torch.device("meta")
    phi = LoraDenoiser(model, denoise, rank, device=meta, generator=torch.Generator())
    trainable = sum(value.nbytes for value in phi.trainable().values())
    with LiveMemory() as memory, meta:
        batch, text = len(noisy), TextFeatures({})  # `predict` makes its own
        found = phi(noisy, torch.empty(batch, dtype=torch.int64), text, torch.empty(batch, 16))
        found.square().mean().backward()
    # Each parameter also has two moments, and a gradient, which stays until the next pass.
    return PriorMemory(phi=4 * trainable, learning=memory.peak_bytes)


def _clip(config: Config, batch: int, render_size_px: int) -> PriorMemory:
    settings = CLIPConfig.from_dict(dict(config))
    with torch.device("meta"):
        model: Any = CLIPModel(settings).eval().requires_grad_(False)
    side: int = model.config.vision_config.image_size
    images = _renders(batch, render_size_px)
    with LiveMemory() as memory, torch.device("meta"):
        pixels = resized(images, side, "bicubic")
        features = model.get_image_features(pixel_values=pixels).pooler_output
        waiting = memory.alive_bytes
        torch.autograd.grad(features, images, torch.empty_like(features))
    return PriorMemory(encoder=module_bytes(model), encoded=waiting, encoding=memory.peak_bytes)


class _FusedAttention(TorchFunctionMode):
    """Counts scaled dot-product attention by its inputs and output, without the scores.

    The meta device has only the plain formula, with a matrix of all pairs.
    """

    def __torch_function__(  # Any: torch functions take and return anything.
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        return _Attention.apply(named["query"], named["key"], named["value"])


class _Attention(torch.autograd.Function):
    """Saves for the backward pass what the fused kernels save."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
