"""The command ``vampnet``: vary a file, list presets and models, convert weights, serve.

Exit codes: 0 done; 1 what the user asked cannot be done, told in one line; 2 a wrong command line;
130 stopped by Ctrl-C. Whatever goes wrong, no file is left half-written. Nothing heavy is imported
before it is needed, so that help comes at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vampnet import __version__
from vampnet.options import PROMPT, SAMPLING, SERVE, TRAIN, given
from vampnet.options import add as add_options
from vampnet.progress import Progress

if TYPE_CHECKING:
    from harp_app.region import Region
    from vampnet.presets import Preset

OK, MISTAKE, STOPPED = 0, 1, 130  # argparse itself ends with 2
DEFAULT_PRESET = "loop-variation"
MAX_TAKES = 32
MAX_SEED = 2**63 - 1
DRAWN_SEEDS = 2**31  # seeds drawn here stay short enough to be typed again
HIDDEN = ".vampnet-"  # start of the names of folders that are gone at the end


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (by default the process's own) and return its exit code.

    Help and a wrong command line end in SystemExit (0 and 2), as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
        return OK
    except KeyboardInterrupt as stop:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # a bar may stand there
        _complain(str(stop) or "stopped; nothing was written")
        return STOPPED
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        _complain(" ".join(str(error).split()) or type(error).__name__)
        return MISTAKE


def _complain(text: str) -> None:
    print(f"vampnet: {text}", file=sys.stderr)


def _say(line: object) -> None:
    print(line, file=sys.stderr, flush=True)


# The command line --------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vampnet",
        description="An audio region in, its variation out.",
        epilog="`vampnet COMMAND --help` tells the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vampnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    _vamp_options(command("vamp", _vamp, "write a variation of an audio file"))
    listed = command("presets", _presets, "list the presets")
    listed.add_argument("--presets-dir", metavar="FOLDER", help="your own presets, *.toml")
    models = command("models", _models, "list the models at hand, or pull the official weights")
    text = "fetch the official VampNet weights (about 3 GB; not for commercial use)"
    fetch = models.add_subparsers(metavar="pull").add_parser("pull", help=text, description=text)
    fetch.add_argument("name", metavar="NAME", nargs="?", default="original", help="(original)")
    fetch.add_argument("--lora", metavar="NAME", help="fine-tuned weights for a kind of music, too")
    fetch.set_defaults(run=_pull)
    convert = command("convert", _convert, "write a model's weights in this program's own format")
    convert.add_argument("source", metavar="SRC", help="a model folder, the original's .pth too")
    convert.add_argument("target", metavar="DST", help="the folder to write")
    convert.add_argument("--fp16", action="store_true", help="half the size; rounds the weights")
    convert.add_argument("--force", action="store_true", help="overwrite a model that is there")
    serve = command("serve", _serve, "serve the endpoint for HARP, and its page for the browser")
    add_options(serve, SERVE)
    train = command(
        "train", _train, "train on a folder of your own music; goes on where it stopped"
    )
    train.add_argument("music", metavar="MUSIC", help="a folder of audio files")
    train.add_argument("work", metavar="WORK", help="the folder to work in; the model lands there")
    add_options(train, TRAIN)
    return parser


def _vamp_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", metavar="IN", help="wav, aiff, flac, ogg or mp3")
    add("output", metavar="OUT", help="written like IN; a suffix of another kind changes that")
    preset = f"what is kept and how freely the rest is made ({DEFAULT_PRESET}); see: presets"
    add("--preset", metavar="NAME", default=DEFAULT_PRESET, help=preset)
    add("--presets-dir", metavar="FOLDER", help="your own presets, *.toml")
    add("--ranges", metavar="TEXT", help="regenerate only here: '2-3.5,6-7.25' s or 'bar 3-4'")
    add("--bpm", type=float, metavar="BPM", help="tempo, 20 to 400; without it beats are detected")
    offset = "time of the first downbeat, with --bpm (0)"
    add("--beat-offset-s", type=float, metavar="SECONDS", help=offset)
    add("--seed", type=int, metavar="N", help="same seed, same sound; drawn and printed if absent")
    takes = f"variations at once, 1 to {MAX_TAKES}: OUT-1, OUT-2, ..."
    add("--takes", type=int, default=1, metavar="N", help=takes)
    add("--model", default="default", metavar="MODEL", help="a name (see: models) or a folder")
    add("--device", default="cpu", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (cpu)")
    add("--mono", action="store_true", help="one mix for all channels, in half the time")
    loudness = "keep the level as generated, not as loud as IN"
    add("--no-match-loudness", action="store_true", help=loudness)
    picture = "also draw input, mask and output (of the first take)"
    add("--picture", metavar="FILE.png", help=picture)
    add("--force", action="store_true", help="overwrite files that are there")
    add_options(parser.add_argument_group("what is kept, over the preset"), PROMPT)
    add_options(parser.add_argument_group("how the rest is made, over the preset"), SAMPLING)


# vamp --------------------------------------------------------------------------------------------


def _vamp(args: argparse.Namespace) -> None:
    preset, seed, files = _preset(args), _seed(args.seed), _outputs(args.output, args.takes)
    targets = files + ([Path(args.picture)] if args.picture else [])
    from harp_app.region import Region

    region = Region.read(args.input)
    region.spans(preset.prompt.ranges_s)
    _check_outputs(args, files, targets, region)
    _check_device(args.device)
    from vampnet.pipeline import Pipeline

    pipeline = Pipeline.load(args.model, args.device)
    rate_hz, start = pipeline.codec.sample_rate, time.monotonic()
    vamp = pipeline.vamp(
        region.to_model(rate_hz, args.mono),
        preset.prompt,
        preset.sampling,
        seed,
        takes=args.takes,
        bpm=args.bpm,
        beat_offset_s=args.beat_offset_s or 0.0,
        on_step=Progress(),
    )
    with _appearing(targets) as places:
        for take, (audio, place) in enumerate(zip(vamp.audio, places, strict=False)):
            varied = region.like(
                audio, rate_hz, preset.prompt.ranges_s, match_loudness=not args.no_match_loudness
            )
            varied.write(place)
            if args.picture and take == 0:
                from vampnet import picture

                picture.save(
                    places[-1], region.samples, varied.samples, region.sample_rate, vamp.mask,
                    pipeline.frame_rate_hz, vamp.beats, f"preset {preset.name}, seed {seed}",
                )  # fmt: skip
    took_s = time.monotonic() - start
    for target in targets:
        print(f"wrote {target}")
    print(f"{preset.name}, {region.duration_s:.2f} s of audio in {took_s:.1f} s, seed {seed}")


def _preset(args: argparse.Namespace) -> Preset:
    """The preset with the options laid over it."""
    from harp_app.ranges import parse_ranges
    from vampnet.beats import beat_grid
    from vampnet.presets import presets

    known = presets(Path(args.presets_dir) if args.presets_dir else None)
    if args.preset not in known:
        raise ValueError(f"no preset '{args.preset}'; there are {', '.join(known)}")
    if args.bpm is not None:
        beat_grid(args.bpm, 0.0, args.beat_offset_s or 0.0)
    elif args.beat_offset_s is not None:
        raise ValueError("--beat-offset-s tells where the first beat of a tempo is; give --bpm too")
    preset, prompt = known[args.preset], given(args, PROMPT)
    if args.ranges:
        prompt["ranges_s"] = parse_ranges(args.ranges, args.bpm)
    return dataclasses.replace(
        preset,
        prompt=dataclasses.replace(preset.prompt, **prompt),
        sampling=dataclasses.replace(preset.sampling, **given(args, SAMPLING)),
    )


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbelow(DRAWN_SEEDS)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}; allowed is 0 to {MAX_SEED}")
    return seed


def _outputs(output: str, takes: int) -> list[Path]:
    """The file of each take: OUT itself, or OUT-1, OUT-2, ... before its suffix."""
    if not 1 <= takes <= MAX_TAKES:
        raise ValueError(f"takes is {takes}; allowed is 1 to {MAX_TAKES}")
    file = Path(output)
    if takes == 1 or not file.name:
        return [file]
    return [file.with_name(f"{file.stem}-{n}{file.suffix}") for n in range(1, takes + 1)]


def _check_outputs(
    args: argparse.Namespace, files: list[Path], targets: list[Path], region: Region
) -> None:
    """ValueError, before any work is done, where a target cannot or must not be written."""
    from vampnet.audio import check_writable

    if args.picture:
        from vampnet.picture import check_name

        check_name(args.picture)
    if len({target.resolve() for target in targets}) < len(targets):
        raise ValueError(f"the picture and the sound cannot both be '{args.picture}'")
    for target in targets:
        check_writable(target)
        if target.exists() and not target.is_file():
            raise ValueError(f"'{target}' is there already and is not a file of the usual kind")
        if target.exists() and not args.force:
            raise ValueError(f"'{target}' is there already; --force overwrites it")
        try:
            with tempfile.TemporaryDirectory(prefix=HIDDEN, dir=target.parent) as folder:
                if target is files[0]:  # can the container hold this rate and these channels?
                    part = dataclasses.replace(region, native=region.native[:1])
                    part.write(Path(folder, target.name))
        except OSError as error:
            raise ValueError(f"cannot write '{target}': {error.strerror or error}") from None


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"device '{name}' cannot be used on this machine; cpu can") from None


@contextmanager
def _appearing(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Places to write to; what lies there moves to the targets at the end, or is deleted."""
    whole = [target.resolve() for target in targets]
    with ExitStack() as stack:
        hidden = {
            folder: Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=HIDDEN, dir=folder))
            )
            for folder in {target.parent for target in whole}
        }
        places = [hidden[target.parent] / target.name for target in whole]
        yield places
        for place, target in zip(places, whole, strict=True):
            os.replace(place, target)


# The other commands ------------------------------------------------------------------------------


def _presets(args: argparse.Namespace) -> None:
    from vampnet.presets import presets

    known = presets(Path(args.presets_dir) if args.presets_dir else None)
    width = max(map(len, known))
    for name, preset in known.items():
        print(f"{name:{width}}  {preset.description}")


def _models(args: argparse.Namespace) -> None:
    from vampnet.checkpoints import models

    for name, folder in models().items():
        weights = [*folder.glob("*.safetensors"), *folder.glob("*.pth")]
        size = sum(file.stat().st_size for file in weights)
        print(f"{name}  {size / 1e6:.1f} MB  {folder}")


def _pull(args: argparse.Namespace) -> None:
    from vampnet.download import pull

    with Progress() as bar:
        name = pull(args.name, args.lora, on_bytes=bar, say=_say)
    print(f"use it with --model {name}")


def _convert(args: argparse.Namespace) -> None:
    import torch

    from vampnet import checkpoints

    source, target = checkpoints.resolve(args.source), Path(args.target)
    if (target / checkpoints.CONFIG).exists() and not args.force:
        raise ValueError(f"'{target}' holds a model already; --force overwrites it")
    dtype = torch.float16 if args.fp16 else torch.float32
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=HIDDEN, dir=target.parent) as folder:
        made = sorted(checkpoints.convert(source, folder, dtype=dtype).iterdir())
        target.mkdir(exist_ok=True)
        for file in made:
            os.replace(file, target / file.name)
    print(f"wrote {target}: {', '.join(file.name for file in made)}")


def _serve(args: argparse.Namespace) -> None:
    import logging

    from harp_app.server import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        serve(**given(args, SERVE))
    except KeyboardInterrupt:  # the usual way to end it
        return


def _train(args: argparse.Namespace) -> None:
    from vampnet.training.recipe import plan, train

    options = given(args, TRAIN)
    words = tuple(filter(None, options.pop("held_out", "").split(",")))
    base = options.pop("base", "default")
    licence = options.pop("licence", "unstated")
    made = train(
        args.music,
        args.work,
        plan(**options),
        base=None if base == "none" else base,
        held_out=words,
        licence=licence,
        log=_say,
    )
    print(f"wrote {made}; use it with --model {made}")
