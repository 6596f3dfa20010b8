"""Token files: the codes of a music collection, and random windows from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vampnet.system.atomic_file import whole_path
from vampnet.system.errors import UserError


class Tokens:
    """Codes of many pieces end to end: ``codes`` int16 (N, total frames), ``starts`` int64 (P + 1).

    A window never crosses from one piece into the next.
    """

    def __init__(self, codes: Tensor, starts: Tensor):
        self.codes, self.starts = codes, starts

    @classmethod
    def load(cls, path: str | Path) -> Tokens:
        """Read a file that :meth:`save` wrote. Raises FileNotFoundError or ValueError."""
        try:
            tensors = load_file(str(path))
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}); delete it and run again") from None
        if set(tensors) != {"codes", "starts"}:
            raise UserError(f"{path} holds {sorted(tensors)}; a token file has codes and starts")
        return cls(tensors["codes"], tensors["starts"])

    @classmethod
    def join(cls, pieces: list[Tensor]) -> Tokens:
        """From the codes of each piece, int64 (N, T)."""
        lengths = torch.tensor([0] + [p.shape[1] for p in pieces])
        return cls(torch.cat([p.to(torch.int16) for p in pieces], dim=1), lengths.cumsum(0))

    def save(self, path: str | Path) -> None:
        """Write as safetensors. Raises OSError where the disk takes no more."""
        with whole_path(Path(path)) as part:
            save_file({"codes": self.codes.contiguous(), "starts": self.starts}, part)

    @property
    def n_frames(self) -> int:
        """Frames in all pieces together."""
        return self.codes.shape[1]

    @property
    def longest(self) -> int:
        """Frames of the longest piece."""
        return int(self.starts.diff().max())

    def room(self, n_frames: int) -> Tensor:
        """How many windows of ``n_frames`` each piece has, int64 (P,).

        Raises ValueError when none of them has one.
        """
        room = (self.starts.diff() - n_frames + 1).clamp(min=0)
        if not room.any():
            raise UserError(
                f"a window has {n_frames} frames but the longest piece only {self.longest}; "
                "take longer music or, for the masked models, fewer frames a window (--frames)"
            )
        return room

    def windows(self, n_items: int, n_frames: int, rng: torch.Generator) -> Tensor:
        """Random windows, int64 (B, N, T); pieces are drawn by how many windows fit into them.

        Raises ValueError when no piece is ``n_frames`` long.
        """
        room = self.room(n_frames)
        piece = torch.multinomial(room.double(), n_items, replacement=True, generator=rng)
        share = torch.rand(n_items, generator=rng, dtype=torch.float64)
        first = self.starts[piece] + (share * room[piece]).long()
        index = first[:, None] + torch.arange(n_frames)
        return self.codes[:, index].transpose(0, 1).long()


def check_windows(
    tokens: Tokens, windows: dict[str, int], frame_s: float, log: Callable[[str], None]
) -> None:
    """See that every training has windows before the first takes its time; log what has none.

    windows: frames of each, by the name of what is trained; frame_s: seconds of one. Raises
    ValueError where no piece is as long.
    """
    lengths = tokens.starts.diff()
    for frames in dict.fromkeys(windows.values()):
        tokens.room(frames)
        short = int((lengths < frames).sum())
        if short:
            names = ", ".join(name for name, wanted in windows.items() if wanted == frames)
            log(
                f"{short} of {len(lengths)} pieces are shorter than a window of {frames} frames "
                f"({frames * frame_s:.1f} s) and are not heard by {names}"
            )
