"""The masked transformer of VampNet: masked tokens in, logits of the predicted codebooks out.

Source: Garcia et al., "VampNet: Music Generation via Masked Acoustic Token Modeling",
arXiv 2307.04686, section 3; T5's relative position bias (arXiv 1910.10683, section 2.1). One class
serves both stages: the coarse model predicts all of its codebooks, the coarse-to-fine model is
conditioned on the first ``n_conditioning_codebooks`` and predicts the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.model.matmul import Linear, batch_slices, linear
from vampnet.model.transformer import RMSNorm, TransformerLayer
from vampnet.system.errors import UserError
from vampnet.system.token_checks import check_codes

N_BUCKETS = 32  # relative positions share this many learned values per head
EXACT_DISTANCE = 8  # frames up to which each distance has its own bucket
MIN_WINDOW_FRAMES = 8  # a shorter window has no frames between its contexts
MAX_DISTANCE = 128  # frames beyond which all distances share the last bucket
BIAS_ALIGNMENT = 16  # values; on CUDA unaligned rows are copied at every call


@dataclass(frozen=True)
class VampNetConfig:
    """Sizes of a :class:`VampNet`; the defaults are the published coarse model's.

    Attributes:
        n_codebooks: codebooks N of the input.
        n_conditioning_codebooks: how many of them, from the first, are input only.
        n_layers, n_heads, embedding_dim, dropout: of the transformer.
        vocab_size: codes per codebook V.
        latent_dim: width of a codebook vector.
        embedding_kernel: frames, odd; 1 in the original. A wider kernel gives the first layer the
            neighbours of each frame.
        tied_head_scale: 0 in the original. Adds to the logits, with this factor, the cosine between
            each codebook vector and a projection of the output, so that near codes get similar
            probabilities.
        window_frames: context length to run the model at; 0 = as the published models were trained.
    """

    n_codebooks: int = 4
    n_conditioning_codebooks: int = 0
    n_layers: int = 20
    n_heads: int = 20
    embedding_dim: int = 1280
    vocab_size: int = 1024
    latent_dim: int = 8
    dropout: float = 0.1
    embedding_kernel: int = 1
    tied_head_scale: float = 0.0
    window_frames: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.n_conditioning_codebooks < self.n_codebooks:
            raise UserError(
                f"n_conditioning_codebooks is {self.n_conditioning_codebooks}; "
                f"it must be in 0..{self.n_codebooks - 1}, below n_codebooks"
            )
        if self.embedding_dim % self.n_heads:
            raise UserError(
                f"embedding_dim {self.embedding_dim} is not a multiple of n_heads {self.n_heads}"
            )
        if self.embedding_kernel % 2 == 0:
            raise UserError(f"embedding_kernel is {self.embedding_kernel}; it must be odd")
        if type(self.window_frames) is not int or 0 != self.window_frames < MIN_WINDOW_FRAMES:
            raise UserError(
                f"window_frames is {self.window_frames!r}; it must be 0 (as the published models) "
                f"or a whole number from {MIN_WINDOW_FRAMES} up"
            )
        if not isinstance(self.tied_head_scale, int | float):
            raise UserError(f"tied_head_scale is {self.tied_head_scale!r}; it must be a number")

    @property
    def n_predicted_codebooks(self) -> int:
        """How many codebooks the model predicts."""
        return self.n_codebooks - self.n_conditioning_codebooks


def relative_bucket(distance: Tensor) -> Tensor:
    """Return the bucket of each relative position (T5).

    Args:
        distance: int64, any shape, key frame - query frame.

    Returns:
        int64 in 0..31, same shape: exact up to 7 frames in either direction, logarithmic up to 128,
        the upper half for keys after the query.
    """
    half = N_BUCKETS // 2
    n = distance.abs()
    ratio = torch.log(n.clamp(min=1).float() / EXACT_DISTANCE) / math.log(
        MAX_DISTANCE / EXACT_DISTANCE
    )
    far = EXACT_DISTANCE + (ratio * (half - EXACT_DISTANCE)).long()
    bucket = torch.where(n < EXACT_DISTANCE, n, far.clamp(max=half - 1))
    return bucket + half * (distance > 0)


def _linear_rows(layer: nn.Module, x: Tensor, codebook: int | None, size: int) -> Tensor:
    """Outputs of a codebook-major linear layer, (..., P, size); of one codebook: (..., 1, size)."""
    if codebook is None:
        return layer(x).unflatten(-1, (-1, size))
    rows = slice(codebook * size, (codebook + 1) * size)
    bias = layer.bias[rows] if isinstance(layer.bias, Tensor) else None
    return linear(x, layer.get_parameter("weight")[rows], bias).unsqueeze(-2)


def _codebook_scores(directions: Tensor, books: Tensor) -> Tensor:
    """Dot products of float (..., P, latent_dim) with (P, V, latent_dim): float (..., P, V)."""
    if len(books) == 1:
        return linear(directions, books[0])
    return torch.einsum("...pl,pvl->...pv", directions, books)


def _normal_weights(*shape: int) -> Tensor:
    """Standard normal weights; uninitialised on "meta", where torch would load its compiler."""
    weights = torch.empty(shape)
    return weights if weights.is_meta else weights.normal_()


class VampNet(nn.Module):
    """Masked acoustic token model (paper, section 3.2).

    The classifier's rows are codebook-major: row ``p * V + v`` scores code v of codebook p.

    Attributes:
        codebooks: float (N, V, latent_dim), the codec's codebook vectors, copied in when a model is
            made or loaded, so that no call needs the codec.
        mask_token: id of the mask token, ``vocab_size``.
    """

    codebooks: Tensor

    def __init__(self, config: VampNetConfig):
        super().__init__()
        c = self.config = config
        width = c.n_codebooks * c.latent_dim
        rows = c.n_predicted_codebooks * c.vocab_size
        self.register_buffer("codebooks", torch.zeros(c.n_codebooks, c.vocab_size, c.latent_dim))
        self.mask_rows = nn.Parameter(_normal_weights(c.n_codebooks, c.latent_dim))
        self.embedding = nn.Conv1d(
            width, c.embedding_dim, c.embedding_kernel, padding=c.embedding_kernel // 2
        )
        bias = _normal_weights(N_BUCKETS, c.n_heads)
        self.relative_bias = nn.Embedding.from_pretrained(bias, freeze=False)
        self.layers = nn.ModuleList(
            TransformerLayer(c.embedding_dim, c.n_heads, c.dropout) for _ in range(c.n_layers)
        )
        self.norm = RMSNorm(c.embedding_dim)
        self.classifier = Linear(c.embedding_dim, rows)
        self._cache: dict[str, tuple[tuple[object, ...], Tensor]] = {}
        self.tied: nn.Linear | None = None
        self.bias_dtype: torch.dtype | None = None  # of the position bias; None = the layers'
        if c.tied_head_scale:
            latent = c.n_predicted_codebooks * c.latent_dim
            self.tied = Linear(c.embedding_dim, latent, bias=False)

    @property
    def mask_token(self) -> int:
        """Id of the mask token."""
        return self.config.vocab_size

    @property
    def n_conditioning_codebooks(self) -> int:
        """How many codebooks, from the first, are input only; the rest are predicted."""
        return self.config.n_conditioning_codebooks

    def latents(self, codes: Tensor) -> Tensor:
        """Return the codebook vectors of the tokens; masked tokens get their learned vector.

        Args:
            codes: int64 (B, N, T), each in 0..vocab_size; the values are not checked.

        Returns:
            float (B, N * latent_dim, T), codebook-major.

        Raises:
            ValueError: for another shape or dtype.
        """
        c = self.config
        if codes.dim() != 3 or codes.shape[1] != c.n_codebooks or 0 in codes.shape:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)}; it must be (B, {c.n_codebooks}, T) with "
                "B and T 1 or more"
            )
        check_codes(codes, c.vocab_size, look=False)
        table = torch.cat([self.codebooks, self.mask_rows[:, None]], dim=1).flatten(0, 1)
        first = torch.arange(c.n_codebooks, device=codes.device)[:, None] * (c.vocab_size + 1)
        rows = F.embedding(codes + first, table)
        return rows.permute(0, 1, 3, 2).flatten(1, 2)

    def position_bias(self, n_frames: int) -> Tensor:
        """Return the additive attention bias of ``n_frames`` frames, float (1, heads, T, T)."""
        device = self.relative_bias.weight.device
        distance = torch.arange(1 - n_frames, n_frames, device=device)
        values = self.relative_bias(relative_bucket(distance))
        rows = values.unfold(0, n_frames, 1).flip(0)
        return rows.permute(1, 0, 2)[None].contiguous()

    def _cached(
        self, name: str, weight: Tensor, extra: object, make: Callable[[], Tensor]
    ) -> Tensor:
        """The result of ``make``, computed from ``weight``; cached while no gradients are needed.

        Computed again for another ``extra``, where the weight was loaded, moved or changed in place
        (changes through ``.data`` are not detected), and under torch.compile. A tensor made during
        a CUDA graph capture belongs to the graph and is not cached.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return make()
        version = 0 if weight.is_inference() else weight._version
        key = (extra, weight.device, weight.data_ptr(), version)
        if name in self._cache and self._cache[name][0] == key:
            return self._cache[name][1]
        value = make()
        if not (weight.is_cuda and torch.cuda.is_current_stream_capturing()):
            self._cache[name] = key, value
        return value

    def cached_tensors(self) -> list[Tensor]:
        """Return what the last pass read besides the weights; the next pass may free it."""
        return [value for _, value in self._cache.values()]

    def _bias(self, n_frames: int, dtype: torch.dtype) -> Tensor:
        """The position bias; that of the last length is cached."""
        weight = self.relative_bias.weight

        def make() -> Tensor:
            bias = self.position_bias(n_frames).to(dtype)
            if weight.device.type == "cpu":
                return bias
            return F.pad(bias, (0, -n_frames % BIAS_ALIGNMENT))[..., :n_frames]

        return self._cached("bias", weight, (n_frames, dtype), make)

    def _unit_codebooks(self) -> Tensor:
        """Unit-norm vectors of the predicted codebooks, float (P, V, latent_dim)."""
        first, books = self.config.n_conditioning_codebooks, self.codebooks
        return self._cached("books", books, first, lambda: F.normalize(books[first:], dim=-1))

    def hidden(self, codes: Tensor) -> Tensor:
        """Return the classifier's input: int64 (B, N, T) to float (B, T, D)."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._hidden(codes)
        parts = batch_slices(codes, self._layers_dtype)
        states = [self._hidden(codes[part].contiguous()) for part in parts]
        return states[0] if len(states) == 1 else torch.cat(states)

    def _hidden(self, codes: Tensor) -> Tensor:
        x = self._embed(self.latents(codes)).to(self._layers_dtype)
        bias = self._bias(codes.shape[-1], self.bias_dtype or x.dtype)
        for layer in self.layers:
            x = layer(x, bias)
        return self.norm(x.to(self.norm.weight.dtype))

    def _embed(self, latents: Tensor) -> Tensor:
        """The embedding's convolution, float (B, W, T) to (B, T, D), as one matrix product.

        A frame's values are contiguous, or each layer would keep, and copy, another layout. CUDA's
        convolutions would round to TF32, and make a new plan for each length.
        """
        weight, bias = self.embedding.weight, self.embedding.bias
        side = weight.shape[-1] // 2
        taps = F.pad(latents, (side, side)).unfold(-1, weight.shape[-1], 1)  # (B, W, T, K)
        return linear(taps.transpose(1, 2).flatten(2), weight.flatten(1), bias)

    @property
    def _layers_dtype(self) -> torch.dtype:
        """Number format of the layers; inference may reduce theirs alone."""
        return next((p.dtype for p in self.layers.parameters()), self.norm.weight.dtype)

    def classify(self, hidden: Tensor, codebook: int | None = None) -> Tensor:
        """Return the logits of all predicted codebooks, or of one.

        Args:
            hidden: float (..., D), any selection of frames.
            codebook: a predicted codebook, 0..P-1; None = all.

        Returns:
            float (..., P, V), or (..., V) for one codebook.
        """
        c = self.config
        read = hidden.to(self.classifier.weight.dtype)  # float16 on an accelerator
        logits = _linear_rows(self.classifier, read, codebook, c.vocab_size).to(hidden.dtype)
        if self.tied is not None:
            books = self._unit_codebooks()
            books = books if codebook is None else books[codebook : codebook + 1]
            latent = _linear_rows(self.tied, hidden, codebook, c.latent_dim)
            direction = F.normalize(latent, dim=-1)
            cosine = _codebook_scores(direction, books.to(direction.dtype))
            logits = logits.add_(cosine, alpha=c.tied_head_scale)
        return logits if codebook is None else logits.squeeze(-2)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logits of the predicted codebooks.

        Args:
            codes: int64 (B, N, T), ``mask_token`` at masked positions.

        Returns:
            float (B, P, T, V) with P = n_codebooks - n_conditioning_codebooks.

        Raises:
            ValueError: for another shape or dtype and, on a CPU, for a code above ``mask_token``,
                which would select a vector of the next codebook.
        """
        if codes.device.type == "cpu" and not torch.compiler.is_compiling():
            check_codes(codes, self.mask_token)
        return self.classify(self.hidden(codes)).transpose(1, 2)
