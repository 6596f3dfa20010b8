"""The codes of a pack's pieces: computed once, and verified when they are used again."""

from __future__ import annotations

from pathlib import Path

from vampnet.codec import Codec
from vampnet.system.errors import UserError
from vampnet.training.data import Pack
from vampnet.training.tokens import Tokens

FRAMES_COMPARED = 400  # of the first piece, which is encoded again
MIN_EQUAL_SHARE = 0.9  # of the codes: another device rounds differently


def encode(pieces: Pack, codec: Codec) -> Tokens:
    """Encode every piece of a pack; the codes are on the CPU."""
    device = codec.codebooks.device
    sounds = (pieces.samples(i)[None, None].to(device) for i in range(len(pieces.pieces)))
    return Tokens.join([codec.encode(sound)[0].cpu() for sound in sounds])


def encode_or_load(pieces: Pack, codec: Codec, path: Path) -> Tokens:
    """Return the codes of a pack, encoded now or read from ``path``.

    Raises:
        UserError: where ``path`` was made from different music or a different codec.
    """
    if not path.is_file():
        encode(pieces, codec).save(path)
        return Tokens.load(path)
    tokens = Tokens.load(path)
    frames = [-(-len(sound) // codec.hop_length) for _, sound in pieces.pieces]
    if tokens.starts.diff().tolist() != frames:
        raise different_source_error(path)
    n_frames = min(frames[0], FRAMES_COMPARED)
    sound = pieces.cut(0, 0, n_frames * codec.hop_length)[None, None]
    again = codec.encode(sound.to(codec.codebooks.device))[0].cpu()
    inner = slice(0, n_frames // 2 + 1)  # codes at the end depend on what follows
    if again.shape[0] != len(tokens.codes):
        raise different_source_error(path)
    if (again[:, inner] == tokens.codes[:, inner]).float().mean() < MIN_EQUAL_SHARE:
        raise different_source_error(path)
    return tokens


def different_source_error(path: Path) -> UserError:
    """Return the error for a token file of different music or of a different codec."""
    return UserError(
        f"'{path}' was made from different music or a different codec; use another work folder"
    )
