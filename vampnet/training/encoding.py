"""The codes of a pack's pieces: made once, and seen to be those of its music when used again."""

from __future__ import annotations

from pathlib import Path

from vampnet.codec import Codec
from vampnet.training.data import Pack
from vampnet.training.tokens import Tokens

FRAMES_TRIED = 400  # of a piece whose codes are compared with those kept
SAME_SHARE = 0.9  # of the codes: another device rounds otherwise


def encode(pieces: Pack, codec: Codec) -> Tokens:
    """The codes of every piece of a pack, on the CPU."""
    device = codec.codebooks.device
    sounds = (pieces.samples(i)[None, None].to(device) for i in range(len(pieces.pieces)))
    return Tokens.join([codec.encode(sound)[0].cpu() for sound in sounds])


def tokens_of(pieces: Pack, codec: Codec, path: Path) -> Tokens:
    """The codes of a pack, or those that were made of it before; ValueError where they are not."""
    if not path.is_file():
        encode(pieces, codec).save(path)
        return Tokens.load(path)
    tokens = Tokens.load(path)
    frames = [-(-len(sound) // codec.hop_length) for _, sound in pieces.pieces]
    if tokens.starts.diff().tolist() != frames:
        raise of_others(path)
    n_frames = min(frames[0], FRAMES_TRIED)
    sound = pieces.cut(0, 0, n_frames * codec.hop_length)[None, None]
    again = codec.encode(sound.to(codec.codebooks.device))[0].cpu()
    inner = slice(0, n_frames // 2 + 1)  # the end hears what follows
    if again.shape[0] != len(tokens.codes):
        raise of_others(path)
    if (again[:, inner] == tokens.codes[:, inner]).float().mean() < SAME_SHARE:
        raise of_others(path)
    return tokens


def of_others(path: Path) -> ValueError:
    """The error of codes that are not those of this music and this codec."""
    return ValueError(f"'{path}' is of other music or of another codec; take another folder")
