"""Texts of different lengths one after another, without padding between them: one row of tokens.

Everything but attention works on tokens one by one, so a batch is ``(1, T, D)`` to it; attention gets an
`UnpaddedBatch` in the place of a mask.

Shape letters: B texts, L tokens a text with padding, T real tokens of all, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class UnpaddedBatch:
    """Where the tokens of a padded batch are."""

    index_T: Tensor
    """Of each real token, among the B * L places."""
    starts: Tensor
    """``(B + 1,)`` int32, where each text begins among the T, and T."""
    longest: int
    """Tokens of the longest text."""
    shape: tuple[int, int]
    """B and L."""

    @classmethod
    def of(cls, padding_BL: Tensor, read_BL: Tensor | None = None) -> "UnpaddedBatch | None":
        """Read a mask; None where nothing is padding, anything but the end of texts is, or padding is read.

        Args:
            padding_BL: bool, True for real tokens.
            read_BL: bool, True where somebody reads what is computed; None if only at real tokens.
        """
        B, L = padding_BL.shape
        count_B = padding_BL.sum(1)
        is_plain = (padding_BL == (torch.arange(L, device=count_B.device) < count_B[:, None])).all()
        if read_BL is not None:
            is_plain &= (padding_BL | ~read_BL).all()
        plain, fewest, longest, total = torch.stack(
            [is_plain.to(count_B.dtype), count_B.min(), count_B.max(), count_B.sum()]
        ).tolist()  # one wait for the device
        if not plain or not fewest or total == B * L:
            return None
        starts = torch.zeros(B + 1, dtype=torch.int32, device=count_B.device)
        starts[1:] = count_B.cumsum(0)
        return cls(padding_BL.flatten().nonzero().flatten(), starts, longest, (B, L))

    def take(self, x: Tensor) -> Tensor:
        """``(B or 1, L, ...)`` to ``(1, T, ...)``."""
        return x.expand(*self.shape, *x.shape[2:]).flatten(0, 1).index_select(0, self.index_T)[None]

    def firsts(self, x: Tensor) -> Tensor:
        """The first token of each text: ``(1, T, ...)`` to ``(1, B, ...)``."""
        return x.index_select(1, self.starts[:-1])

    def firsts_of(self, x: Tensor) -> Tensor:
        """The same as ``(B, 1, ...)``; an encoder may have left out all others."""
        return (self.firsts(x) if x.shape[1] == len(self.index_T) else x).transpose(0, 1)

    def put_back(self, x: Tensor) -> Tensor:
        """``(1, T, ...)`` to ``(B, L, ...)``; padding is zero."""
        B, L = self.shape
        rows: Tensor = x.new_zeros(B * L, *x.shape[2:]).index_copy(0, self.index_T, x[0])
        return rows.view(B, L, *x.shape[2:])


Mask = Tensor | UnpaddedBatch | None
"""What a query may see: bool, broadcastable to ``(B, N, L, L)``, True where query i may see key j; its
own text alone; or everything."""
