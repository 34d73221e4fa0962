"""How tokens are chosen and replaced. Standard library only, since settings and ``--help`` import it."""

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import UserError

Strategy = Literal["windowed", "unbiased", "whole-word", "ngram"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """How tokens are chosen and replaced."""

    strategy: Strategy = "windowed"
    """``"windowed"`` (official, RTD), ``"unbiased"``, ``"whole-word"`` or ``"ngram"`` (official, MLM)."""
    mask_prob: float = 0.15
    """Share of a window's tokens that are chosen."""
    always_mask: bool = True
    """True: chosen tokens become [MASK] (RTD). False: 80 % [MASK], 10 % random, 10 % unchanged (MLM)."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UserError(
                f"the masking strategy must be one of {', '.join(STRATEGIES)}; got {self.strategy!r}"
            )
        if not 0 < self.mask_prob <= 0.5:
            raise UserError(f"mask_prob must be above 0 and at most 0.5; got {self.mask_prob}")
