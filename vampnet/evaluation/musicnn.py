"""MusiCNN: a small convolutional network trained to tag music, used for its embedding.

Source: Pons and Serra, "musicnn: Pre-trained convolutional neural networks for music audio
tagging" (arXiv 1909.06654); architecture from Pons et al., "End-to-end learning for music audio
tagging at scale" (arXiv 1711.02520). Weights: weights/musicnn, with their licence.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from vampnet.audio.mel import mel_bands

RATE_HZ = 16000
N_FFT, HOP, N_MELS = 512, 256, 96  # samples, samples, bands
PATCH_FRAMES = 187  # 3 s, the network's input length
WIDTH = 200  # of the embedding, the penultimate layer
WEIGHTS = Path(__file__).parents[1] / "weights" / "musicnn" / "msd_musicnn.safetensors"
NORM_EPS = 1e-3  # TensorFlow's default
TIMBRAL_BANDS = (38, 67)  # filters over 0.4 and 0.7 of the mel bands, 7 frames long
TEMPORAL_FRAMES = (128, 64, 32)  # filters one band high
# The 50 most frequent tags of the Million Song Dataset, in the order of the outputs.
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip


class FrontEndFilter(nn.Module):
    """Convolution over the spectrogram, max-pooled over frequency."""

    def __init__(self, n_filters: int, frames: int, bands: int):
        super().__init__()
        self.convolution = nn.Conv2d(1, n_filters, (frames, bands))
        self.norm = nn.BatchNorm2d(n_filters, eps=NORM_EPS)

    def forward(self, levels: Tensor) -> Tensor:
        """Map log-mel levels float (B, 1, T, bands) to float (B, filters, T)."""
        missing = (
            self.convolution.kernel_size[0] - 1
        )  # "same" padding; an even filter gets more on the right
        padded = F.pad(levels, (0, 0, missing // 2, missing - missing // 2))
        return self.norm(torch.relu(self.convolution(padded))).amax(-1)


class MidEndConvolution(nn.Module):
    """Convolution over 7 frames of all channels."""

    def __init__(self, width: int, n_filters: int):
        super().__init__()
        self.convolution = nn.Conv2d(1, n_filters, (7, width))
        self.norm = nn.BatchNorm1d(n_filters, eps=NORM_EPS)

    def forward(self, channels: Tensor) -> Tensor:
        """Map float (B, width, T) to float (B, filters, T)."""
        weight = self.convolution.weight[:, 0].transpose(1, 2)
        made = F.conv1d(channels, weight, self.convolution.bias, padding=3)
        return self.norm(torch.relu(made))


class MusiCNN(nn.Module):
    """Log-mel patches to an embedding and tags; 0.8 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=NORM_EPS)
        self.timbral = nn.ModuleList(FrontEndFilter(204, 7, bands) for bands in TIMBRAL_BANDS)
        self.temporal = nn.ModuleList(FrontEndFilter(51, frames, 1) for frames in TEMPORAL_FRAMES)
        front = 204 * len(TIMBRAL_BANDS) + 51 * len(TEMPORAL_FRAMES)
        self.middle = nn.ModuleList(MidEndConvolution(width, 64) for width in (front, 64, 64))
        pooled = 2 * (front + 3 * 64)
        self.pool_norm = nn.BatchNorm1d(pooled, eps=NORM_EPS)
        self.dense = nn.Linear(pooled, WIDTH)
        self.dense_norm = nn.BatchNorm1d(WIDTH, eps=NORM_EPS)
        self.tags = nn.Linear(WIDTH, len(TAGS))

    def forward(self, levels: Tensor) -> Tensor:
        """Embed patches of :func:`log_mel_patches`, float (B, T, 96), as float (B, 200)."""
        normed = self.norm(levels[:, None])
        front = torch.cat([f(normed) for f in (*self.timbral, *self.temporal)], 1)
        first = self.middle[0](front)
        second = self.middle[1](first) + first
        third = self.middle[2](second) + second
        channels = torch.cat([front, first, second, third], 1)
        pooled = torch.stack([channels.amax(-1), channels.mean(-1)], -1).flatten(1)
        return self.dense_norm(torch.relu(self.dense(self.pool_norm(pooled))))

    def tag_probabilities(self, embedding: Tensor) -> Tensor:
        """Probability of each of ``TAGS``: embeddings float (B, 200) to float (B, 50)."""
        return torch.sigmoid(self.tags(embedding))


@cache
def load() -> MusiCNN:
    """Load the network with the bundled weights, in evaluation mode; cached."""
    with torch.device("meta"):
        network = MusiCNN()
    state = {name: value.float() for name, value in load_file(WEIGHTS).items()}
    counts = {n: torch.zeros((), dtype=torch.long) for n in network.state_dict() if n not in state}
    network.load_state_dict(state | counts, assign=True)
    return network.eval().requires_grad_(False)


def log_mel_patches(audio: Tensor, hop_s: float) -> Tensor:
    """Cut audio into log-mel patches of 3 s.

    Args:
        audio: mono, float (S,) at 16 kHz; shorter than a patch it is repeated, as in training.
        hop_s: seconds from one patch to the next.

    Returns:
        float (patches, 187, 96).
    """
    shortest = (PATCH_FRAMES - 1) * HOP
    if len(audio) < shortest:
        audio = audio.repeat(-(-shortest // max(1, len(audio))))[:shortest]
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(
        audio.float(), N_FFT, HOP, window=window, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square().T @ mel_bands(N_FFT, RATE_HZ, N_MELS)
    levels = (10000 * power + 1).log10()
    return levels.unfold(0, PATCH_FRAMES, round(hop_s * RATE_HZ / HOP)).transpose(1, 2)
