"""Distances between sets: closed forms, no bias, monotonic in damage; and intervals."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import chord, noise

from vampnet.audio.mel import mel_bands
from vampnet.evaluation import musicnn
from vampnet.evaluation.clips import MusicClip
from vampnet.evaluation.embeddings import (
    LevelEmbedding,
    MusicnnEmbedding,
    bundled_embeddings,
    embed,
)
from vampnet.evaluation.experiments import Setting
from vampnet.evaluation.frechet import (
    PrincipalAxes,
    bandwidth,
    frechet_at_infinity,
    frechet_distance,
    kernel_distance,
)
from vampnet.evaluation.intervals import jackknife
from vampnet.evaluation.runs import Result, Trial
from vampnet.evaluation.scores import Scores


def gaussian(n: int, dims: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=rng, dtype=torch.float64)


# Frechet distance --------------------------------------------------------------------------------


def test_the_distance_of_a_set_from_itself_is_zero():
    points = gaussian(50, 6, 1)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)


def test_shift_and_scale_match_their_closed_forms():
    points = gaussian(400, 4, 1)
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0])
    assert frechet_distance(points, points + shift) == pytest.approx(5.25, rel=1e-9)
    spread = float(torch.cov(points.T).trace())  # tr(S) + tr(9 S) - 2 tr(3 S) = 4 tr(S)
    centred = points - points.mean(0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * spread, rel=1e-9)
    assert frechet_distance(centred[:, :1], 3 * centred[:, :1]) == pytest.approx(
        4 * float(centred[:, 0].var()), rel=1e-9
    )
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(points[:1], points)


def test_the_distance_equals_that_of_scipys_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = gaussian(60, 5, 1), gaussian(80, 5, 2) @ gaussian(5, 5, 3) + 1
    cov_a, cov_b = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    root = linalg.sqrtm(cov_a @ cov_b).real
    theirs = float((a.mean(0) - b.mean(0)).square().sum())
    theirs += cov_a.trace() + cov_b.trace() - 2 * root.trace()
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


def clips(n: int, dims: int, seed: int, shift: float = 0.0) -> list[torch.Tensor]:
    """Clips of 4 correlated points, as patches of one piece are."""
    rng = torch.Generator().manual_seed(seed)
    made = [
        0.7 * torch.randn(1, dims, generator=rng) + torch.randn(4, dims, generator=rng)
        for _ in range(n)
    ]
    return [(points + shift).double() for points in made]


def test_the_extrapolation_removes_most_of_the_small_sample_bias():
    dims, shift = 12, 0.3
    true = dims * shift**2
    plain, limit, floor = [], [], []
    for trial in range(6):
        real, made = clips(60, dims, trial), clips(60, dims, 100 + trial, shift)
        plain.append(frechet_distance(torch.cat(made[:30]), torch.cat(real[30:])) - true)
        limit.append(frechet_at_infinity(made, range(60), real) - true)
        floor.append(frechet_at_infinity(real, range(60), real))
    plain_bias, limit_bias = sum(plain) / 6, sum(limit) / 6
    assert plain_bias > 1.0 and abs(limit_bias) < 0.45 * plain_bias
    assert abs(sum(floor) / 6) < 0.3  # one half of the real music against the other


def test_a_clip_is_never_compared_with_itself():
    real = clips(20, 4, 1)
    copied = frechet_at_infinity(real, range(20), real)
    fresh = frechet_at_infinity(clips(20, 4, 2), range(20), real)
    assert copied > -1 and abs(copied - fresh) < 2  # copies have no advantage
    with pytest.raises(ValueError, match="at least 4"):
        frechet_at_infinity(real[:3], range(3), real[:3])


def test_a_clip_left_out_is_in_no_resample():
    real, made = clips(20, 4, 1), clips(20, 4, 2)
    found = frechet_at_infinity(made, range(20), real, without=[3, 7])
    for number in (3, 7):
        made[number], real[number] = made[number] + 100, real[number] - 100
    assert frechet_at_infinity(made, range(20), real, without=[3, 7]) == found
    with pytest.raises(ValueError, match="3 real clips; at least 4"):
        frechet_at_infinity(made[:4], range(4), real[:4], without=[0])


def test_deviations_off_the_principal_axes_increase_the_distance():
    real = gaussian(200, 3, 1) @ gaussian(3, 30, 2)  # real music varies in 3 of 30 directions
    axes = PrincipalAxes.of(real, n_axes=3)
    off = torch.linalg.qr(gaussian(30, 30, 3)).Q[:, :1].T
    off = off - (off @ axes.directions) @ axes.directions.T
    assert axes(real)[:, -1].max() < 1e-5
    assert frechet_distance(axes(real), axes(real + 5 * off)) > 10


# Kernel distance ---------------------------------------------------------------------------------


def test_the_kernel_distance_matches_a_manual_computation():
    made, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    places = torch.tensor([0, 1])
    k = {d: math.exp(-(d**2) / 2) for d in (1, 2)}
    # pairs of one clip are left out: k(0,1) among the made, k(0,2) among the real, and across
    # 0 with 2 and 1 with 0
    expected = 100 * (k[1] + k[2] - 2 * (k[2] + k[1]) / 2)
    assert kernel_distance(made, places, real, places, 1.0) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(made, torch.zeros(2), real, places, 1.0)


def test_the_kernel_distance_is_unbiased_and_grows():
    found = []
    for seed in range(20):
        real, same = gaussian(40, 3, seed), gaussian(40, 3, 100 + seed)
        places = torch.arange(40)
        width = bandwidth(real)
        found.append(
            [kernel_distance(same + s, places, real, 40 + places, width) for s in (0, 0.5, 1)]
        )
        assert kernel_distance(real, places, real, places, width) == pytest.approx(0, abs=1e-6)
    means = torch.tensor(found).mean(0)
    assert abs(means[0]) < 0.6 < means[1] < means[2]


# Settings ----------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("measure", ["frechet:musicnn", "kernel:musicnn"])


def scores(real: list[torch.Tensor], **made: list[torch.Tensor]) -> Scores:
    """Of settings that were run on the first clips, each on as many as it has sounds."""
    found = {}
    for name, sounds in {"real music": real, **made}.items():
        setting = Setting(name, "real" if sounds is real else "vamp")
        for number, points in enumerate(sounds):
            trial = Trial(setting, MusicClip(number, "", torch.zeros(3), 44100), 0)
            found[trial] = Result({}, {"musicnn": points})
    return Scores(found)


@pytest.mark.slow
@BOTH
def test_a_copy_is_not_nearer_than_similar_music(measure):
    for seed in range(3):
        real = [2 * points for points in clips(36, 8, seed)]
        fresh = [2 * points for points in clips(16, 8, 100 + seed)]
        gain = scores(real, fresh=fresh, copied=real[:16]).difference("fresh", "copied", measure)
        assert gain.half > 0 and gain.low < 0 < gain.high


@BOTH
def test_differences_use_only_the_clips_of_both_settings(measure):
    made = clips(20, 4, 2, 0.5)
    found = scores(clips(32, 4, 1), many=made, few=made[:12])
    difference = found.difference("few", "many", measure)
    assert difference.value == difference.half == 0
    assert found.estimate("few", measure) != found.estimate("many", measure)


@BOTH
def test_the_interval_includes_the_variance_of_the_reference_music(measure):
    alike = [torch.full((4, 4), 9.0) + points / 100 for points in clips(1, 4, 3)] * 10
    assert scores(clips(32, 4, 1), alike=alike).estimate("alike", measure).half > 0.1


def test_four_clips_give_a_distance_without_an_interval():
    found = scores(clips(4, 3, 1), made=clips(3, 3, 2)).estimate("made", "frechet:musicnn")
    assert math.isfinite(found.value) and math.isnan(found.half)


# Embeddings --------------------------------------------------------------------------------------

# Output of TensorFlow with the published checkpoint for the input of `patches`.
PUBLISHED = (
    (-0.1772, 1.3287, -0.2848, -0.2751, 0.8193, 1.1598, 1.8177, -0.4571),
    (-0.1772, -0.1270, -0.2848, -0.2751, -0.3532, -0.2400, -0.2574, 0.2991),
)


def patches() -> torch.Tensor:
    t, f = torch.arange(187)[:, None], torch.arange(96)[None]
    wave = 1.5 + 1.5 * torch.sin(0.37 * t + 0.11 * f) * torch.cos(0.05 * t * f / 10)
    sweep = 3 * torch.exp(-(((f - 20 - 0.2 * t) / 6.0) ** 2)) + (t % 16 < 3) * 1.0
    return torch.stack([wave.clamp(min=0), sweep]).float()


def test_the_network_equals_the_published_checkpoint():
    made = musicnn.load()(patches())
    assert made.shape == (2, musicnn.WIDTH)
    torch.testing.assert_close(made[:, :8], torch.tensor(PUBLISHED), atol=0.008, rtol=0)
    tags = musicnn.load().tag_probabilities(made)
    assert tags.shape == (2, len(musicnn.TAGS)) and (tags >= 0).all() and (tags <= 1).all()


def test_the_log_mel_patches_equal_librosa():
    librosa = pytest.importorskip("librosa")
    sound = chord(4.0, musicnn.RATE_HZ)[0]
    ours = musicnn.log_mel_patches(sound, 1.0)
    assert ours.shape == (2, musicnn.PATCH_FRAMES, musicnn.N_MELS)
    power = librosa.feature.melspectrogram(
        y=sound.numpy(), sr=16000, hop_length=256, n_fft=512, n_mels=96
    )
    theirs = torch.from_numpy(power.T[:187] * 10000 + 1).log10()
    torch.testing.assert_close(ours[0], theirs, atol=2e-3, rtol=1e-3)


def test_short_silent_audio_has_finite_embeddings():
    for name, points in embed(torch.zeros(4000), 44100, bundled_embeddings(44100)).items():
        assert len(points) >= 1 and points.isfinite().all(), name


@pytest.mark.slow
@pytest.mark.parametrize("embedding", [MusicnnEmbedding(), LevelEmbedding(44100)])
def test_the_distance_grows_with_noise(embedding):
    sounds = [chord(6.0, embedding.rate_hz, seed)[0] for seed in range(5)]
    hiss = noise(6.0, embedding.rate_hz, amplitude=1.0)[0]

    def points(level: float) -> torch.Tensor:
        return torch.cat([embedding(sound + level * hiss) for sound in sounds])

    clean = points(0.0)
    assert clean.shape[1] == embedding.dims
    axes = PrincipalAxes.of(clean)
    distances = [frechet_distance(axes(points(v)), axes(clean)) for v in (0.003, 0.03, 0.3)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_patches_of_a_piece_are_nearer_to_each_other_than_to_another_piece():
    embedding = MusicnnEmbedding()
    means = [
        embedding(chord(9.0, 16000, seed)[0] + level * noise(9.0, 16000, seed=seed)[0])
        for seed, level in ((1, 0.0), (2, 3.0))
    ]
    apart = torch.cdist(means[0], means[1]).mean()
    assert torch.cdist(means[0], means[0]).mean() < apart
    assert torch.cdist(means[1], means[1]).mean() < apart


def test_mel_bands_equal_librosa():
    librosa = pytest.importorskip("librosa")
    for rate_hz, n_fft, n_mels in ((44100, 2048, 150), (44100, 512, 80), (16000, 512, 96)):
        theirs = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels).T
        ours = mel_bands(n_fft, rate_hz, n_mels)
        torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-6, rtol=1e-4)


# Intervals ---------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_equals_students_t():
    values = [1.0, 2.0, 4.0, 4.5, 7.0, 8.0]
    found = jackknife(range(6), lambda some: sum(values[i] for i in some) / len(some))
    error = torch.tensor(values).std().item() / math.sqrt(6)
    assert found.value == pytest.approx(sum(values) / 6)
    assert found.half == pytest.approx(2.5706 * error, rel=1e-3)  # t of 5 degrees of freedom
    assert found.low == found.value - found.half and found.high == found.value + found.half
    assert math.isnan(jackknife([1, 2], lambda some: 1.0).half)
