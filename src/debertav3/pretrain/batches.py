"""Batches of numpy samples as tensors, and the loader that feeds one process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.samples import Batch, PretrainingData, segment_layout
from ..data.windows import PADDING
from ..processes import leave_signals_to_parent
from ..tokenization import DebertaV3Tokenizer
from .corpora import Corpora
from .settings import PretrainConfig


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """Masked samples as tensors. Shape letters: B samples, L tokens, M masked tokens of the batch.

    Attributes:
        input_ids: ``(B, L)`` int64, masked.
        positions: ``(M,)`` int64, masked places in the flat batch.
        targets: ``(M,)`` int64, what stood there.
        uniforms: ``(M,)`` float32 in [0, 1), for drawing the generator's tokens.
        segment_ids: ``(B, L)`` int64, -1 for padding; None where each sample is one full segment.
        position_ids: ``(B, L)`` int64, counted within the segment; None as above.
        cls_places: ``(B, L)`` int64, the place of each token's own [CLS] in its row; None as above.
    """

    input_ids: Tensor
    positions: Tensor
    targets: Tensor
    uniforms: Tensor
    segment_ids: Tensor | None
    position_ids: Tensor | None
    cls_places: Tensor | None

    @classmethod
    def from_numpy(cls, batch: Batch) -> "MaskedBatch":
        """Take over a batch."""
        segment_ids = position_ids = cls_places = None
        if batch.segment_ids is not None:
            starts, offsets = segment_layout(batch.segment_ids)
            segment_ids = torch.from_numpy(batch.segment_ids)
            position_ids, cls_places = torch.from_numpy(offsets), torch.from_numpy(starts)
        return cls(
            input_ids=torch.from_numpy(batch.input_ids),
            positions=torch.from_numpy(batch.positions),
            targets=torch.from_numpy(batch.targets),
            # 1 - 2**-24 is the largest float32 below 1: rounding up to 1 would draw past the last token.
            uniforms=torch.from_numpy(batch.uniforms).float().clamp_(max=1 - 2**-24),
            segment_ids=segment_ids,
            position_ids=position_ids,
            cls_places=cls_places,
        )

    def to(self, device: torch.device) -> "MaskedBatch":
        """The same on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "MaskedBatch":
        """Called by the loader where it pins."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "MaskedBatch":
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return replace(self, **{name: change(value) for name, value in values if value is not None})

    @property
    def real(self) -> Tensor | None:
        """``(B, L)`` bool, True for real tokens; None where there is no padding."""
        return None if self.segment_ids is None else self.segment_ids != PADDING

    def pairs(self) -> Tensor | None:
        """``(B, L, L)`` bool, True within a segment; None where each sample is one full segment.

        Made where it is used: for a whole step of a large run it would be gigabytes.
        """
        if self.segment_ids is None:
            return None
        same = self.segment_ids[:, :, None] == self.segment_ids[:, None, :]
        return same & (self.segment_ids != PADDING)[:, None, :]

    @property
    def num_masked(self) -> int:
        """Masked tokens."""
        return self.targets.numel()

    @property
    def num_real(self) -> int:
        """Real tokens, special tokens counted."""
        real = self.real
        return self.input_ids.numel() if real is None else int(real.sum())

    def filled_with(self, tokens: Tensor) -> Tensor:
        """``input_ids`` with ``(M,)`` tokens at the masked places, ``(B, L)``."""
        filled = self.input_ids.clone()
        filled.view(-1)[self.positions] = tokens
        return filled


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which samples of a global batch are one process's.

    Attributes:
        batch_size: samples of one optimizer step over all processes.
        micro_batch_size: samples of one forward pass.
        rank: number of this process.
        world_size: how many processes there are.
        first_step: from which on the batch has this size.
        first_sample: global index of the first sample of that step.
    """

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    world_size: int = 1
    first_step: int = 0
    first_sample: int = 0

    def indices(self, step: int) -> list[list[int]]:
        """Global sample indices of this process in ``step`` (counted from 0), by micro-batch.

        Every process takes a contiguous stretch; over all processes a step has exactly ``batch_size`` samples
        in a row, and the next step has those after them.
        """
        per_rank = self.batch_size // self.world_size
        first = self.first_sample + (step - self.first_step) * self.batch_size + self.rank * per_rank
        return [
            list(range(start, min(start + self.micro_batch_size, first + per_rank)))
            for start in range(first, first + per_rank, self.micro_batch_size)
        ]


@dataclass(frozen=True)
class Stretch:
    """Steps that read one data set in batches of one size.

    Attributes:
        data: what they read.
        share: which samples are this process's.
        last_step: the step after the last of them.
    """

    data: PretrainingData
    share: Share
    last_step: int


def open_stretches(
    corpora: Corpora, config: PretrainConfig, tokenizer: DebertaV3Tokenizer, *, rank: int, world_size: int
) -> list[Stretch]:
    """What one process reads in each phase of a run.

    Raises:
        UserError: see `corpora.Corpora.samples`.
    """
    phases = corpora.plan.phases
    return [
        Stretch(
            data,
            Share(
                batch_size=phase.batch_size,
                micro_batch_size=phase.micro_batch_size,
                rank=rank,
                world_size=world_size,
                first_step=phase.first_step,
                first_sample=phase.first_sample,
            ),
            phase.last_step,
        )
        for phase, data in zip(phases, corpora.samples(config, tokenizer), strict=True)
    ]


class StepDataset(Dataset[list[MaskedBatch]]):
    """Item ``n`` is what this process needs in step ``n``: its micro-batches.

    Args:
        stretches: in order, the first from step 0 on.
        mask_prob: share of the tokens masked in a step.
    """

    def __init__(self, stretches: Sequence[Stretch], mask_prob: Callable[[int], float]) -> None:
        self.stretches = tuple(stretches)
        self.mask_prob = mask_prob

    def __getitem__(self, step: int) -> list[MaskedBatch]:
        """The micro-batches of ``step``."""
        stretch = next(one for one in self.stretches if step < one.last_step)
        share = self.mask_prob(step)
        return [
            MaskedBatch.from_numpy(stretch.data.batch(indices, share))
            for indices in stretch.share.indices(step)
        ]


def load_steps(
    stretches: Sequence[Stretch],
    mask_prob: Callable[[int], float],
    *,
    first_step: int,
    num_workers: int,
) -> Iterator[list[MaskedBatch]]:
    """Micro-batches for the steps from ``first_step`` to the end, whatever ``num_workers``."""
    loader = DataLoader(
        StepDataset(stretches, mask_prob),
        sampler=range(first_step, stretches[-1].last_step),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)
