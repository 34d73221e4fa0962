"""What a caller's ``attention_mask`` means to the parts of the model.

Shape letters: B batch, L tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from .relative_position import may_read
from .unpadded import UnpaddedBatch


@dataclass(slots=True)
class AttentionMasks:
    """What a caller's ``attention_mask`` means to the parts of the model.

    Args:
        padding: ``(B, L)`` bool, True for real tokens; None where all are.
        packed_pairs: what packed sequences say beyond that, ``(B, 1, L, L)`` bool, True where query i may see
            key j.
        unpadded: where the texts are in a batch without padding.
    """

    padding: Tensor | None
    packed_pairs: Tensor | None = None
    unpadded: UnpaddedBatch | None = None

    @property
    def are_packed(self) -> bool:
        """Whether ``pairs`` says more than ``padding``."""
        return self.packed_pairs is not None

    @property
    def pairs(self) -> Tensor | None:
        """``(B, 1, L, L)`` bool, True where query i may see key j; None for everywhere."""
        if self.packed_pairs is not None or self.padding is None:
            return self.packed_pairs
        return self.padding[:, None, :, None] & self.padding[:, None, None, :]

    @classmethod
    def read(cls, attention_mask: Tensor | None) -> "AttentionMasks":
        """Understand a mask of 0/1 numbers or bools.

        Padding sees nothing, as in transformers: the states there enter the loss of question answering.

        Args:
            attention_mask: ``(B, L)`` for padding, ``(B, L, L)`` for packed sequences (query i, key j) or
                ``(B, 1, L, L)``.

        Raises:
            UserError: for another number of dimensions, and for a mask that is to be added to scores.
        """
        if attention_mask is None:
            return cls(None)
        if attention_mask.is_floating_point() and may_read(attention_mask) and (attention_mask < 0).any():
            raise UserError(
                "attention_mask has negative numbers, as masks that are added to scores; need 1 for what may "
                "be seen, and 0"
            )
        mask = attention_mask if attention_mask.dtype == torch.bool else attention_mask > 0
        match mask.dim():
            case 2 if _hides_nothing(mask):
                return cls(None)
            case 2:
                return cls(mask)
            case 3:
                return cls(mask.any(-2), mask[:, None])
            case 4 if mask.shape[1] == 1 and mask.shape[2] == 1:
                return cls.read(mask[:, 0, 0])
            case 4 if mask.shape[1] == 1:
                return cls(mask[:, 0].any(-2), mask)
        raise _wrong_shape(mask)

    @staticmethod
    def check_shape(attention_mask: Tensor | None, *, batch: int, length: int) -> None:
        """Refuse a mask of another batch or length, which would hide tokens of other rows, or none.

        Args:
            attention_mask: as in `read`.
            batch: B, the number of rows.
            length: L, tokens a row.

        Raises:
            UserError: if the shape does not fit.
        """
        if attention_mask is None or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # in a graph sizes are symbols, and what was traced fitted
        rows, *rest = attention_mask.shape
        fitting = ([length], [length, length], [1, length, length], [1, 1, length])
        if rows not in (1, batch) or rest not in fitting:  # one mask may hold for all rows
            raise _wrong_shape(attention_mask, batch, length)


def _wrong_shape(mask: Tensor, batch: object = "batch", length: object = "tokens") -> UserError:
    return UserError(
        f"attention_mask has shape {tuple(mask.shape)}; need ({batch}, {length}), "
        f"({batch}, {length}, {length}) or ({batch}, 1, {length}, {length})"
    )


def _hides_nothing(mask: Tensor) -> bool:
    """Whether a mask can be dropped; asked only where the answer costs no wait for a device and no graph."""
    return mask.device.type == "cpu" and may_read(mask) and bool(mask.all())
