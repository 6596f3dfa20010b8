"""VGGish: the network that Frechet audio distances of the literature are mostly told in.

Source: Hershey et al., "CNN architectures for large-scale audio classification" (arXiv 1609.09430),
and the AudioSet release that published it. The weights are read from a file under the names of the
published torch port; the points are those that distances are taken of: the last layer before any
activation, PCA or quantisation.
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
LOG_OFFSET = 0.01  # added to mel magnitudes: what counts as silence
PATCH_FRAMES = 96  # 0.96 s, side by side
CHANNELS = (64, 128, 256, 256, 512, 512)  # of the convolutions
POOLED = (True, True, False, True, False, True)  # halved in time and frequency behind it
WIDTHS = (4096, 4096, 128)  # of the dense layers; the last is the embedding
CONVOLUTIONS, DENSE = (0, 3, 6, 8, 11, 13), (0, 2, 4)  # places in the published lists of layers
HASH_DIGITS = 8


class VGGish(nn.Module):
    """Log-mel patches to embeddings; 72 million weights with the published widths."""

    def __init__(self, channels: Sequence[int] = CHANNELS, widths: Sequence[int] = WIDTHS):
        super().__init__()
        layers: list[nn.Module] = []
        heard = 1
        for n_filters, pooled in zip(channels, POOLED, strict=True):
            layers += [nn.Conv2d(heard, n_filters, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] * pooled
            heard = n_filters
        self.features = nn.Sequential(*layers)
        shrunk = 2 ** sum(POOLED)
        flat = (PATCH_FRAMES // shrunk) * (N_MELS // shrunk) * heard
        first, second, last = widths
        self.embeddings = nn.Sequential(
            nn.Linear(flat, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
            nn.Linear(second, last),
        )  # fmt: skip

    def forward(self, levels: Tensor) -> Tensor:
        """Patches float (B, 96, 64) of :func:`log_mel_patches` to embeddings float (B, width)."""
        heard = self.features(levels[:, None])
        return self.embeddings(heard.permute(0, 2, 3, 1).flatten(1))  # channels vary fastest


class VggishEmbedding:
    """128 numbers for each 0.96 s, nothing above 7.5 kHz; the name tells the weights' hash."""

    rate_hz = RATE_HZ

    def __init__(self, path: str | Path):
        """Weights from a safetensors or torch file. Raises ValueError where it is no VGGish."""
        path = Path(path).expanduser()
        self.network = load(path)
        self.dims = len(self.network.state_dict()[f"embeddings.{DENSE[-1]}.bias"])
        self.name = f"vggish-{sha256(path)[:HASH_DIGITS]}"

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Sound float (S,) at 16 kHz to points float (patches, dims)."""
        return self.network(log_mel_patches(audio)).clone()


def load(path: str | Path) -> VGGish:
    """The network in a safetensors or torch file, of the widths that the file has; to evaluate.

    Names are those of the published torch port: features.N and embeddings.N, weight and bias; what
    else is in the file (a PCA) is left there. Raises ValueError for anything else.
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
            raise UserError(f"{path} is no VGGish: {name} is {found}, not {tuple(wanted.shape)}")
    if more := sorted(set(state) - set(network.state_dict())):
        raise UserError(f"{path} is no VGGish: it has a layer {more[0]}")
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _width(path: Path, state: Mapping[str, Tensor], name: str, dims: int) -> int:
    if name not in state or state[name].ndim != dims:
        raise UserError(
            f"{path} is no VGGish: it lacks {name} with {dims} dimensions; allowed is a file with "
            "the names of the published torch port"
        )
    return state[name].shape[0]


def mel_weights() -> Tensor:
    """Triangles over 125 to 7500 Hz, straight on HTK's mel scale itself: float (257, 64)."""

    def mel(hz: Tensor) -> Tensor:
        return MEL_SCALE * torch.log1p(hz / MEL_BREAK_HZ)

    low, high = (MEL_SCALE * math.log1p(hz / MEL_BREAK_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges = torch.linspace(low, high, N_MELS + 2, dtype=torch.float64)
    bins = mel(torch.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1, dtype=torch.float64))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel_patches(audio: Tensor) -> Tensor:
    """Log-mel patches of 0.96 s, side by side: float (S,) at 16 kHz to (patches, 96, 64).

    Audio that is shorter than a patch is repeated; what is left at the end is not heard.
    """
    shortest = (PATCH_FRAMES - 1) * HOP + WINDOW
    if len(audio) < shortest:
        audio = audio.repeat(-(-shortest // max(1, len(audio))))[:shortest]
    frames = audio.float().unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW)
    levels = (torch.fft.rfft(frames, N_FFT).abs() @ mel_weights() + LOG_OFFSET).log()
    return levels.unfold(0, PATCH_FRAMES, PATCH_FRAMES).transpose(1, 2)
