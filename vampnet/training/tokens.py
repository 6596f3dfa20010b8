"""Token files: the codes of a music collection, and random windows from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError


class Tokens:
    """Concatenated codes of many pieces; a window never crosses from one piece into the next.

    Attributes:
        codes: int16 (N, total frames).
        starts: int64 (P + 1,), first frame of each piece, and the total.
    """

    def __init__(self, codes: Tensor, starts: Tensor):
        self.codes, self.starts = codes, starts

    @classmethod
    def load(cls, path: str | Path) -> Tokens:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: where there is none.
            UserError: where it is damaged.
        """
        try:
            tensors = load_file(str(path))
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}); delete it and run again") from None
        if set(tensors) != {"codes", "starts"}:
            raise UserError(f"{path} has {sorted(tensors)}; a token file has codes and starts")
        return cls(tensors["codes"], tensors["starts"])

    @classmethod
    def join(cls, pieces: list[Tensor]) -> Tokens:
        """Concatenate the codes of each piece, int64 (N, T)."""
        lengths = torch.tensor([0] + [p.shape[1] for p in pieces])
        return cls(torch.cat([p.to(torch.int16) for p in pieces], dim=1), lengths.cumsum(0))

    def save(self, path: str | Path) -> None:
        """Write as safetensors. Raises OSError where the disk is full."""
        with atomic_path(Path(path)) as part:
            save_file({"codes": self.codes.contiguous(), "starts": self.starts}, part)

    @property
    def n_frames(self) -> int:
        """Frames of all pieces together."""
        return self.codes.shape[1]

    @property
    def longest(self) -> int:
        """Frames of the longest piece."""
        return int(self.starts.diff().max())

    def windows_per_piece(self, n_frames: int) -> Tensor:
        """Return how many windows of ``n_frames`` each piece has, int64 (P,).

        Raises:
            UserError: when every piece is shorter.
        """
        counts = (self.starts.diff() - n_frames + 1).clamp(min=0)
        if not counts.any():
            raise UserError(
                f"a window has {n_frames} frames but the longest piece only {self.longest}; "
                "use longer music or, for the masked models, fewer frames per window (--frames)"
            )
        return counts

    def windows(self, n_items: int, n_frames: int, rng: torch.Generator) -> Tensor:
        """Sample windows; each window of each piece is equally probable.

        Args:
            n_items: B.
            n_frames: T.
            rng: a CPU generator.

        Returns:
            int64 (B, N, T).

        Raises:
            UserError: when no piece is ``n_frames`` long.
        """
        counts = self.windows_per_piece(n_frames)
        piece = torch.multinomial(counts.double(), n_items, replacement=True, generator=rng)
        share = torch.rand(n_items, generator=rng, dtype=torch.float64)
        first = self.starts[piece] + (share * counts[piece]).long()
        index = first[:, None] + torch.arange(n_frames)
        return self.codes[:, index].transpose(0, 1).long()


def check_windows(
    tokens: Tokens, windows: dict[str, int], frame_s: float, log: Callable[[str], None]
) -> None:
    """Check before the first training that each has windows; log how many pieces are too short.

    Args:
        tokens: the training set.
        windows: frames per window, by the name of the trained model.
        frame_s: seconds per frame.
        log: gets the lines.

    Raises:
        UserError: where no piece is as long as a window.
    """
    lengths = tokens.starts.diff()
    for frames in dict.fromkeys(windows.values()):
        tokens.windows_per_piece(frames)
        short = int((lengths < frames).sum())
        if short:
            names = ", ".join(name for name, wanted in windows.items() if wanted == frames)
            log(
                f"{short} of {len(lengths)} pieces are shorter than a window of {frames} frames "
                f"({frames * frame_s:.1f} s) and are not used by {names}"
            )
