"""Initial weights with which an autoencoder already passes small pictures through.

From random weights a VAE spends thousands of steps to learn that what goes in comes out, above
all a plain background's brightness, which every normalisation over the image removes. Here the
first three channels of every layer carry the image: averaged over 2x2 pixels where the encoder
halves it, repeated where the decoder doubles it. Residual branches start at zero, so the
shortcuts do this exactly. All other channels keep their random weights, and training adds what
the averages lack.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

_CARRIED = 3  # red, green and blue
_CONSTANT = 16.0  # far above the image's range
_LINEAR_AT = 4.0  # SiLU is nearly straight here
_LOG_VARIANCE = -9.0  # otherwise noise hides the latents at first


@torch.no_grad()
def start_as_averages(vae: AutoencoderKL) -> None:
    """Overwrite some of the initial weights so that latents start as averages of the image."""
    for module in vae.modules():
        match module:
            case ResnetBlock2D():
                second: Any = module.conv2
                second.weight.zero_()
                second.bias.zero_()
                if module.conv_shortcut is not None:
                    _carry(module.conv_shortcut)
            case Downsample2D():
                # The library pads below and to the right only: these taps see a 2x2 block.
                _carry(module.conv, taps=[(0, 0), (0, 1), (1, 0), (1, 1)])
            case Upsample2D():
                _carry(module.conv)
            case _:
                pass
    encoder: Any = vae.encoder
    decoder: Any = vae.decoder
    latents: Any = vae.post_quant_conv
    for part in (encoder, decoder):
        _carry(part.conv_in)
    _carry_through_normalisation(encoder.mid_block.resnets[-1], encoder)
    _carry_through_normalisation(decoder.up_blocks[-1].resnets[-1], decoder)
    moments: Any = vae.quant_conv
    channels = moments.out_channels // 2
    nn.init.dirac_(moments.weight)
    moments.bias.zero_()
    moments.weight[channels:] = 0
    moments.bias[channels:] = _LOG_VARIANCE
    nn.init.dirac_(latents.weight)
    latents.bias.zero_()


def _carry(convolution: Any, taps: list[tuple[int, int]] | None = None, gain: float = 1.0) -> None:
    """Let the first channels out be `gain` times the mean, over `taps`, of the first ones in."""
    middle = convolution.weight.shape[2] // 2
    places = [(middle, middle)] if taps is None else taps
    for channel in range(_CARRIED):
        convolution.weight[channel] = 0
        convolution.bias[channel] = 0
        for row, column in places:
            convolution.weight[channel, channel, row, column] = gain / len(places)


def _carry_through_normalisation(before: Any, part: Any) -> None:
    """Make a part's last normalisation and SiLU nearly an affine function.

    Two channels get large constants of opposite sign, which then make up the statistics. The
    scale and the slope are undone by the convolution behind.
    """
    norm, convolution = part.conv_norm_out, part.conv_out
    channels = norm.num_channels
    before.conv2.bias[_CARRIED] = _CONSTANT
    before.conv2.bias[_CARRIED + 1] = -_CONSTANT
    scale = _CONSTANT * (2 / channels) ** 0.5
    norm.bias[:_CARRIED] = _LINEAR_AT
    point = torch.tensor(_LINEAR_AT, requires_grad=True)
    with torch.enable_grad():
        value = nn.functional.silu(point)
        (slope,) = torch.autograd.grad(value, point)
    gain = scale / float(slope)
    _carry(convolution, gain=gain)
    convolution.bias[:_CARRIED] = -gain * value.detach()
