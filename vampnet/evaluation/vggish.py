"""VGGish: the network of most Frechet audio distances in the literature.

Source: Hershey et al., "CNN architectures for large-scale audio classification" (arXiv 1609.09430),
and the AudioSet release that published it. The weights are read from a file under the names of the
published torch port; the embedding is the last layer before any activation, PCA or quantisation, as
used for distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vampnet.checkpoints.weight_files import read_safetensors, read_torch
from vampnet.system.errors import UserError
from vampnet.system.hashes import sha256

RATE_HZ = 16000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples: 25 ms, 10 ms
N_MELS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7500.0
MEL_BREAK_HZ, MEL_SCALE = 700.0, 1127.0  # HTK's scale
LOG_OFFSET = 0.01  # added to mel magnitudes before the logarithm
PATCH_FRAMES = 96  # 0.96 s, without overlap
CHANNELS = (64, 128, 256, 256, 512, 512)  # of the convolutions
POOLED = (True, True, False, True, False, True)  # max-pooled by 2 in time and frequency after it
WIDTHS = (4096, 4096, 128)  # of the dense layers; the last is the embedding
CONVOLUTIONS, DENSE = (0, 3, 6, 8, 11, 13), (0, 2, 4)  # indices in the published lists of layers
HASH_DIGITS = 8


class VGGish(nn.Module):
    """The VGGish network; 72 million weights with the published widths."""

    def __init__(self, channels: Sequence[int] = CHANNELS, widths: Sequence[int] = WIDTHS):
        super().__init__()
        layers: list[nn.Module] = []
        n_inputs = 1
        for n_filters, pooled in zip(channels, POOLED, strict=True):
            layers += [nn.Conv2d(n_inputs, n_filters, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] * pooled
            n_inputs = n_filters
        self.features = nn.Sequential(*layers)
        shrunk = 2 ** sum(POOLED)
        flat = (PATCH_FRAMES // shrunk) * (N_MELS // shrunk) * n_inputs
        first, second, last = widths
        self.embeddings = nn.Sequential(
            nn.Linear(flat, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
            nn.Linear(second, last),
        )  # fmt: skip

    def forward(self, levels: Tensor) -> Tensor:
        """Embed patches of :func:`log_mel_patches`, float (B, 96, 64), as float (B, width)."""
        features = self.features(levels[:, None])
        return self.embeddings(features.permute(0, 2, 3, 1).flatten(1))  # channels vary fastest


class VggishEmbedding:
    """VGGish embedding: 128 dimensions per 0.96 s, nothing above 7.5 kHz.

    The name holds a hash of the weights.
    """

    rate_hz = RATE_HZ

    def __init__(self, path: str | Path):
        """Load the weights from a safetensors or torch file, see :func:`load`."""
        path = Path(path).expanduser()
        self.network = load(path)
        self.dims = len(self.network.state_dict()[f"embeddings.{DENSE[-1]}.bias"])
        self.name = f"vggish-{sha256(path)[:HASH_DIGITS]}"

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Embed mono audio float (S,) at 16 kHz: float (patches, dims)."""
        return self.network(log_mel_patches(audio)).clone()


def load(path: str | Path) -> VGGish:
    """Load the network, with the layer widths of the file, in evaluation mode.

    Args:
        path: a safetensors or torch file with the names of the published torch port: weight and
            bias of features.N and embeddings.N. Other entries, such as a PCA, are ignored.

    Raises:
        UserError: the file cannot be read, or does not hold VGGish weights.
    """
    path = Path(path)
    read = read_safetensors if path.suffix == ".safetensors" else read_torch
    state = {
        name: value.float()
        for name, value in read(path).items()
        if isinstance(value, Tensor) and name.startswith(("features.", "embeddings."))
    }
    with torch.device("meta"):
        network = VGGish(
            [_width(path, state, f"features.{at}.weight", 4) for at in CONVOLUTIONS],
            [_width(path, state, f"embeddings.{at}.weight", 2) for at in DENSE],
        )
    for name, wanted in network.state_dict().items():
        found = tuple(state[name].shape) if name in state else "missing"
        if found != tuple(wanted.shape):
            raise UserError(f"{path} is not VGGish: {name} is {found}, not {tuple(wanted.shape)}")
    if more := sorted(set(state) - set(network.state_dict())):
        raise UserError(f"{path} is not VGGish: it has a layer {more[0]}")
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _width(path: Path, state: Mapping[str, Tensor], name: str, dims: int) -> int:
    if name not in state or state[name].ndim != dims:
        raise UserError(
            f"{path} is not VGGish: it lacks {name} with {dims} dimensions; allowed is a file with "
            "the names of the published torch port"
        )
    return state[name].shape[0]


def mel_weights() -> Tensor:
    """Triangular filters from 125 to 7500 Hz, linear on HTK's mel scale: float (257, 64)."""

    def mel(hz: Tensor) -> Tensor:
        return MEL_SCALE * torch.log1p(hz / MEL_BREAK_HZ)

    low, high = (MEL_SCALE * math.log1p(hz / MEL_BREAK_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges = torch.linspace(low, high, N_MELS + 2, dtype=torch.float64)
    bins = mel(torch.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1, dtype=torch.float64))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel_patches(audio: Tensor) -> Tensor:
    """Cut audio into log-mel patches of 0.96 s without overlap.

    Args:
        audio: mono, float (S,) at 16 kHz; shorter than a patch it is repeated. An incomplete patch
            at the end is dropped.

    Returns:
        float (patches, 96, 64).
    """
    shortest = (PATCH_FRAMES - 1) * HOP + WINDOW
    if len(audio) < shortest:
        audio = audio.repeat(-(-shortest // max(1, len(audio))))[:shortest]
    frames = audio.float().unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW)
    levels = (torch.fft.rfft(frames, N_FFT).abs() @ mel_weights() + LOG_OFFSET).log()
    return levels.unfold(0, PATCH_FRAMES, PATCH_FRAMES).transpose(1, 2)
