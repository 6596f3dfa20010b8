"""Write audio examples of a model with spectrograms, and check that seeds and presets differ.

    python benchmarks/showcase.py MUSIC docs/examples [--model MODEL] [--presets A,B,C]

MUSIC: a folder of held-out files whose artist and licence are in docs/training-data.csv. Writes six
pieces as Ogg files (input, codec alone, three presets), spectrograms of each, and README.md with
credits and measures; prints the measures. Equal models and music give equal files on the same
machine. Notes written by hand between the marks in README.md are kept.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from showcase_page import (  # noqa: E402
    CODEC,
    INPUT,
    PageMetadata,
    checks,
    file_name,
    kept_notes,
    linked_files,
    page,
)
from showcase_pieces import Piece, choose, credits, write_ogg  # noqa: E402

from vampnet.audio.region import Region  # noqa: E402
from vampnet.evaluation.clips import MusicClip, cut_clips  # noqa: E402
from vampnet.evaluation.musical import extract_features  # noqa: E402
from vampnet.evaluation.preset_checks import ClipMeasures, measure_presets  # noqa: E402
from vampnet.evaluation.runs import model_hash  # noqa: E402
from vampnet.evaluation.spectrograms import save_spectrograms  # noqa: E402
from vampnet.pipeline import Pipeline  # noqa: E402
from vampnet.presets import Preset, preset, presets  # noqa: E402

SHOWN = "small-variation,loop-variation,beat-variation"
SEEDS = (0, 1)
MANIFEST = ROOT / "docs" / "training-data.csv"
PAGE = "README.md"


@dataclass(frozen=True)
class Maker:
    """Generates the examples: a model, the presets shown and the presets checked."""

    pipeline: Pipeline
    shown: dict[str, Preset]
    checked: dict[str, Preset]

    @torch.inference_mode()
    def sounds(self, piece: Piece) -> dict[str, Region]:
        """Generate all audio of a piece, by name, at the input's level and rate."""
        codec, region = self.pipeline.codec, piece.region
        audio = region.to_model(codec.sample_rate)[0]
        made = {INPUT: region}
        again = codec.decode(codec.encode(audio), audio.shape[-1])[:, 0]
        made[CODEC] = region.like(again, codec.sample_rate)
        for name, how in self.shown.items():
            sampling = self.pipeline.sampling_for(how)
            vamp = self.pipeline.vamp(audio, how.prompt, sampling, SEEDS[0])
            made[name] = region.like(vamp.audio[0], codec.sample_rate)
        return made

    def show(self, piece: Piece, out: Path) -> None:
        """Write the audio and the spectrograms of a piece."""
        sounds = self.sounds(piece)
        for what, region in sounds.items():
            write_ogg(out / file_name(piece, what), region, piece.credit, what)
        mono = [(what, region.samples.mean(0)) for what, region in sounds.items()]
        credit = piece.credit
        title = f"{credit.title} \u2013 {credit.name} ({credit.licence}), {piece.place()}"
        save_spectrograms(out / f"{piece.stem}.png", mono, piece.region.sample_rate, title)

    @torch.inference_mode()
    def check(self, clip: MusicClip) -> ClipMeasures:
        """Generate two takes of a clip with every preset and measure them."""
        codec, audio = self.pipeline.codec, clip.sound[None, None]
        made, beats_s = {}, ()
        for name, how in self.checked.items():
            sampling = self.pipeline.sampling_for(how)
            vamps = [self.pipeline.vamp(audio, how.prompt, sampling, seed) for seed in SEEDS]
            made[name] = [vamp.audio[0, 0] for vamp in vamps]
            beats_s = vamps[0].beats.times_s if vamps[0].beats else beats_s
        again = {CODEC: codec.decode(codec.encode(audio), len(clip.sound))[0, 0]}
        return measure_presets(
            extract_features(clip.sound, clip.rate_hz, True), made, again, beats_s
        )


def spread(clips: Sequence[MusicClip], n: int) -> list[MusicClip]:
    """Select ``n`` clips, evenly spaced, so that they cover all artists."""
    return [clips[i * len(clips) // n] for i in range(min(n, len(clips)))]


def run(jobs: Sequence[Callable[[], object]], workers: int) -> list:
    """Run jobs in a thread pool, showing progress; return their results in order."""
    with ThreadPoolExecutor(workers) as pool:
        waiting, found = [pool.submit(job) for job in jobs], []
        for future in waiting:
            found.append(future.result())
            print(f"\r{len(found)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("music", type=Path, help="a folder of held-out music")
    add("out", type=Path, help="the folder to write, docs/examples")
    add("--model", default="default", help="a name or a folder (default)")
    add("--presets", default=SHOWN, help=f"presets shown, comma-separated ({SHOWN})")
    add("--check", default="", help="presets checked, comma-separated (all)")
    add("--pieces", type=int, default=6, help="number of pieces (6)")
    add("--seconds", type=float, default=4.5, help="length of a piece (4.5)")
    add("--clips", type=int, default=12, help="clips to check on; 0 = no checks (12)")
    add("--clip-seconds", type=float, default=6.0, help="length of a clip (6)")
    add("--credits", type=Path, default=MANIFEST, help="name, artist, licence (the manifest)")
    add("--jobs", type=int, default=2, help="jobs at once (2)")
    return parser.parse_args(argv)


def named(names: str) -> dict[str, Preset]:
    """Load presets by comma-separated names, "" = all. Raises UserError for an unknown name."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    return {name: preset(name) for name in wanted} or presets()


def command(argv: Sequence[str], args: argparse.Namespace) -> str:
    """Format the command line, with the folder of music as MUSIC."""
    words = ["MUSIC" if word == str(args.music) else word for word in argv]
    return shlex.join(["python", "benchmarks/showcase.py", *words])


def main(argv: Sequence[str] | None = None) -> None:
    """Generate the examples."""
    start, argv = time.monotonic(), sys.argv[1:] if argv is None else argv
    args = arguments(argv)
    torch.set_num_threads(1)  # one job per core is faster than all cores per job
    maker = Maker(Pipeline.from_pretrained(args.model), named(args.presets), named(args.check))
    credit_of = credits(args.music, args.credits)
    pieces = choose(credit_of, args.pieces, args.seconds)
    rate_hz = maker.pipeline.codec.sample_rate
    clips = []
    if args.clips:
        every = cut_clips(args.music, rate_hz, max(args.clips, len(credit_of)), args.clip_seconds)
        clips = spread(every, args.clips)
    args.out.mkdir(parents=True, exist_ok=True)
    readme = args.out / PAGE
    notes = kept_notes(readme)
    for old in linked_files(readme):
        old.unlink(missing_ok=True)
    made = run(
        [*(lambda p=p: maker.show(p, args.out) for p in pieces),
         *(lambda c=c: maker.check(c) for c in clips)],
        args.jobs,
    )  # fmt: skip
    model = f"`{maker.pipeline.name or 'unnamed'}` (files {model_hash(args.model)})"
    metadata = PageMetadata(command(argv, args), model, SEEDS[0], args.clip_seconds)
    figures = made[len(pieces) :]
    shown = [INPUT, CODEC, *maker.shown]
    readme.write_text(page(metadata, pieces, shown, figures, notes), encoding="utf-8")
    if figures:
        print(checks(metadata, figures))
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{readme}: {size / 1e6:.2f} MB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
