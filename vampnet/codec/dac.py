"""The codec of descript-audio-codec 1.0.0 (Kumar et al. 2023, "High-Fidelity Audio Compression
with Improved RVQGAN"), for inference, with plain convolution weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from torch import Tensor, nn
from torch.nn.functional import pad

from vampnet.codec.codec import Codec, check_sizes
from vampnet.codec.fast_network import FastNetwork, Float16Network, fast_path_available
from vampnet.codec.layers import Snake, downsample_conv, residual_unit, same_conv, upsample_conv
from vampnet.codec.quantizer import ResidualQuantizer
from vampnet.system.errors import UserError

DILATIONS = (1, 3, 9)
KERNEL = 7
# A stride of 1 does not change the rate, and its padding would drop or add a frame. Each decoder
# rate also halves decoder_dim.
LEAST = {"encoder_rates": 2, "decoder_rates": 2}


class DAC(Codec):
    """Strided convolutional encoder, residual quantiser, transposed convolutional decoder.

    The names of the arguments are the original's, as in its checkpoints.

    Args:
        encoder_dim: channels of the encoder's first layer.
        encoder_rates, decoder_rates: strides.
        latent_dim: channels of the latent; None = the encoder's last width.
        decoder_dim: channels of the decoder's first layer.
        n_codebooks: N.
        codebook_size: V.
        codebook_dim: width of a codebook vector.
        sample_rate: Hz.

    Raises:
        ValueError: where these are not valid or not consistent.
    """

    family = "dac"
    unit_context = sum(DILATIONS) * (KERNEL // 2)  # steps each side of a decoder block's units

    def __init__(
        self,
        encoder_dim: int = 64,
        encoder_rates: Sequence[int] = (2, 4, 8, 8),
        latent_dim: int | None = None,
        decoder_dim: int = 1536,
        decoder_rates: Sequence[int] = (8, 8, 4, 2),
        n_codebooks: int = 9,
        codebook_size: int = 1024,
        codebook_dim: int = 8,
        sample_rate: int = 44_100,
    ) -> None:
        super().__init__(
            encoder_dim=encoder_dim, encoder_rates=list(encoder_rates), latent_dim=latent_dim,
            decoder_dim=decoder_dim, decoder_rates=list(decoder_rates), n_codebooks=n_codebooks,
            codebook_size=codebook_size, codebook_dim=codebook_dim, sample_rate=sample_rate,
        )  # fmt: skip
        sizes = {k: v for k, v in self.kwargs.items() if (k, v) != ("latent_dim", None)}
        check_sizes(sizes, {**LEAST, "decoder_dim": 2 ** len(decoder_rates)})
        self._check_rates(encoder_rates, decoder_rates)
        width = encoder_dim * 2 ** len(encoder_rates) if latent_dim is None else latent_dim
        self.sample_rate = sample_rate
        self.hop_length = prod(encoder_rates)
        self.n_codebooks = n_codebooks
        self.vocab_size = codebook_size
        self.encode_context = encoder_context(encoder_rates)
        self.decode_context = decoder_context(decoder_rates, self.unit_context)
        self.encoder = self._encoder(encoder_dim, encoder_rates, width)
        self.quantizer = ResidualQuantizer(n_codebooks, width, codebook_size, codebook_dim)
        self.decoder = self._decoder(width, decoder_dim, decoder_rates)
        self._fast: dict[nn.Module, FastNetwork] = {
            net: FastNetwork(net) for net in (self.encoder, self.decoder)
        }
        self._half = Float16Network(self._fast[self.decoder])

    @staticmethod
    def stride_padding(stride: int) -> int:
        """Return the zero padding at each end of a strided convolution, in samples."""
        return ceil(stride / 2)

    @staticmethod
    def units(width: int) -> list[nn.Module]:
        """Return the layers after the transposed convolution of a decoder block."""
        return [residual_unit(width, KERNEL, dilation, 1) for dilation in DILATIONS]

    @property
    def codebooks(self) -> Tensor:
        """The raw codebook rows, float (N, V, latent_dim)."""
        return self.quantizer.codebooks

    def _check_rates(self, encoder_rates: Sequence[int], decoder_rates: Sequence[int]) -> None:
        if prod(encoder_rates) != prod(decoder_rates):
            raise UserError(
                f"encoder_rates {list(encoder_rates)} and decoder_rates {list(decoder_rates)} "
                "must have the same product"
            )

    def _encoder(self, width: int, rates: Sequence[int], code_width: int) -> nn.Sequential:
        blocks: list[nn.Module] = [same_conv(1, width, KERNEL)]
        for rate in rates:
            units = [residual_unit(width, KERNEL, dilation, 1) for dilation in DILATIONS]
            step = downsample_conv(width, 2 * width, rate, self.stride_padding(rate))
            blocks.append(nn.Sequential(*units, Snake(width), step))
            width *= 2
        return nn.Sequential(*blocks, Snake(width), same_conv(width, code_width, 3))

    def _decoder(self, code_width: int, width: int, rates: Sequence[int]) -> nn.Sequential:
        blocks: list[nn.Module] = [same_conv(code_width, width, KERNEL)]
        for rate in rates:
            step = upsample_conv(width, width // 2, rate, self.stride_padding(rate))
            blocks.append(nn.Sequential(Snake(width), step, *self.units(width // 2)))
            width //= 2
        return nn.Sequential(*blocks, Snake(width), same_conv(width, 1, KERNEL), nn.Tanh())

    def _encode_window(self, audio: Tensor) -> Tensor:
        return self.quantizer.encode(self.fast_network(self.encoder, audio))[0]

    def fast_network(self, network: nn.Module, x: Tensor) -> Tensor:
        """Run the encoder or decoder on the fastest path for this device and dtype."""
        return self._fast[network](x) if fast_path_available(x) else network(x)

    def decoding_network(self, network: nn.Module, x: Tensor) -> Tensor:
        """Run the decoder; audio, unlike codes, may be computed in float16."""
        if x.is_cuda and fast_path_available(x):
            return self._half(x)
        return self.fast_network(network, x)

    def _decode_window(self, codes: Tensor) -> Tensor:
        audio = self.decoding_network(self.decoder, self.quantizer.decode(codes))
        # An odd stride loses a sample at the end of its block; earlier samples keep their position.
        return pad(audio, (0, codes.shape[-1] * self.hop_length - audio.shape[-1]))


def encoder_context(rates: Sequence[int]) -> int:
    """Return how many frames on each side a frame's code depends on, for these encoder strides."""
    samples, step = KERNEL // 2, 1
    for rate in rates:
        samples += step * (sum(DILATIONS) * (KERNEL // 2) + ceil(rate / 2))
        step *= rate
    return ceil(samples / step) + 1  # the last convolution (kernel 3) reads one frame each side


def decoder_context(rates: Sequence[int], unit_context: int) -> int:
    """Return how many frames on each side a frame's samples depend on.

    Args:
        rates: the decoder's strides.
        unit_context: steps on each side that the layers after each stride read.
    """
    step = prod(rates)
    samples = step * (KERNEL // 2) + KERNEL // 2
    for rate in rates:
        samples += step  # a transposed convolution reads its neighbours
        step //= rate
        samples += step * unit_context
    return ceil(samples / prod(rates))
