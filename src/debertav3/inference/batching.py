"""Inputs of any length to batches that waste little, and the logits back in the order of the inputs.

Inputs are sorted by length and cut into batches of at most so many tokens, padding included. On two cores
512 to 2,048 tokens a batch ran fastest: larger ones have more padding and, without our C++ kernel, more page
faults.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import UserError, whole_number
from ..heads import BY_NAME
from ..tokenization.assembly import kept_lengths
from ..tokenization.padding import Side
from .backends.protocol import Backend, Logits

if TYPE_CHECKING:
    from tqdm import tqdm

_BAR_FROM = 256
"""Inputs from which a terminal gets a progress bar: about a second of work on two cores."""


SHORTEST_INPUT = 8
"""Tokens below which nobody can limit an input: a pair has three special ones."""


class Encoding(NamedTuple):
    """One input of the encoder, special tokens included."""

    input_ids: list[int]
    token_type_ids: list[int]
    masked_positions: tuple[int, ...] = ()
    """Tokens to predict, for masked language models."""
    is_truncated: bool = False
    """Whether the text was too long and lost its end."""


class Cut(NamedTuple):
    """How an input that is too long is shortened."""

    side: Side | None = None
    """Which end goes; None is what the tokenizer says."""
    max_length: int | None = None
    """Most tokens, special tokens included, where fewer are wanted than the model takes; at least 8."""
    is_asked: bool = False
    """Whether the request asks for the cut: then it is no truncation, as long as the model takes as much."""
    first: int | None = None
    """Most tokens of a pair's first text, before the pair is cut; this is no truncation either."""
    second: int | None = None
    """The same of its second text."""


WHOLE = Cut()
"""As much as the model takes."""


class Packer:
    """Lays token ids out as the encoder reads them: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``.

    Args:
        cls_id: id of [CLS].
        sep_id: id of [SEP].
        max_length: most tokens of one input, special tokens included.
        truncation_side: which end of a text goes that is too long, where a `Cut` does not say.

    Raises:
        UserError: if ``max_length`` is less than `SHORTEST_INPUT`, or no whole number.
    """

    def __init__(self, *, cls_id: int, sep_id: int, max_length: int, truncation_side: Side = "right") -> None:
        self.cls_id, self.sep_id = cls_id, sep_id
        self.max_length = whole_number(max_length, name="max_length", least=SHORTEST_INPUT)
        self.truncation_side = truncation_side

    def single(self, ids: Sequence[int], *, cut: Cut = WHOLE) -> Encoding:
        """One text, cut if too long."""
        kept = self._kept(ids, min(len(ids), self._room(cut) - 2), cut)
        is_truncated = len(kept) < len(ids) and not self._is_wanted(cut)
        return Encoding([self.cls_id, *kept, self.sep_id], [0] * (len(kept) + 2), is_truncated=is_truncated)

    def pair(self, first: Sequence[int], second: Sequence[int], *, cut: Cut = WHOLE) -> Encoding:
        """Two texts; the longer one is cut first, as the tokenizer's ``longest_first`` does."""
        first, second = self._at_most(first, cut.first, cut), self._at_most(second, cut.second, cut)
        num_first, num_second = kept_lengths(
            len(first), len(second), budget=self._room(cut) - 3, strategy="longest_first"
        )
        is_truncated = num_first + num_second < len(first) + len(second) and not self._is_wanted(cut)
        ids = [
            self.cls_id,
            *self._kept(first, num_first, cut),
            self.sep_id,
            *self._kept(second, num_second, cut),
            self.sep_id,
        ]
        token_types = [0] * (num_first + 2) + [1] * (num_second + 1)
        return Encoding(ids, token_types, is_truncated=is_truncated)

    def _kept(self, ids: Sequence[int], length: int, cut: Cut) -> Sequence[int]:
        """The ``length`` ids that stay."""
        side = cut.side or self.truncation_side
        return ids[:length] if side == "right" else ids[len(ids) - length :]

    def _at_most(self, ids: Sequence[int], length: int | None, cut: Cut) -> Sequence[int]:
        return ids if length is None or length >= len(ids) else self._kept(ids, length, cut)

    def _is_wanted(self, cut: Cut) -> bool:
        return cut.is_asked and (cut.max_length or 0) <= self.max_length

    def _room(self, cut: Cut) -> int:
        return min(self.max_length, cut.max_length or self.max_length)


def plan_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Group inputs of similar length.

    Args:
        lengths: tokens of every input.
        batch_tokens: most tokens of a batch, padding included; a longer input is a batch of its own.

    Returns:
        Places in ``lengths``, batch by batch, longest first: what does not fit in memory fails at once.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def pad_batch(encodings: Sequence[Encoding], *, pad_id: int) -> dict[str, npt.NDArray[np.int64]]:
    """Stack inputs into arrays, padded at the right: see `Batch`."""
    size, length = len(encodings), max(len(encoding.input_ids) for encoding in encodings)
    batch = {
        "input_ids": np.full((size, length), pad_id, dtype=np.int64),
        "attention_mask": np.zeros((size, length), dtype=np.int64),
        "token_type_ids": np.zeros((size, length), dtype=np.int64),
    }
    for row, encoding in enumerate(encodings):
        used = len(encoding.input_ids)
        batch["input_ids"][row, :used] = encoding.input_ids
        batch["attention_mask"][row, :used] = 1
        batch["token_type_ids"][row, :used] = encoding.token_type_ids
    num_masked = max(len(encoding.masked_positions) for encoding in encodings)
    if num_masked:
        positions = np.zeros((size, num_masked), dtype=np.int64)
        for row, encoding in enumerate(encodings):
            positions[row, : len(encoding.masked_positions)] = encoding.masked_positions
        batch["masked_positions"] = positions
    return batch


def run_batches(
    backend: Backend,
    encodings: Sequence[Encoding],
    *,
    pad_id: int,
    batch_tokens: int | None = None,
    show_progress: bool | None = None,
) -> Iterator[tuple[int, dict[str, npt.NDArray[np.float32]]]]:
    """Compute the logits of many inputs.

    Args:
        backend: what computes.
        encodings: the inputs.
        pad_id: id of [PAD].
        batch_tokens: see `plan_batches`; the backend's own figure if None.
        show_progress: a bar on stderr; None shows one on terminals for many inputs.

    Yields:
        ``(place of the input, its logits by output name)``, in the order of computation. Outputs for tokens
        are cut to the input's own length, outputs for masked tokens to their number.

    Raises:
        UserError: if a logit is not finite.
    """
    lengths = [len(encoding.input_ids) for encoding in encodings]
    with _bar(len(encodings), show_progress) as bar:
        for places in plan_batches(lengths, batch_tokens=batch_tokens or backend.batch_tokens):
            members = [encodings[place] for place in places]
            outputs = backend.run(pad_batch(members, pad_id=pad_id))
            _check_finite(outputs, backend)
            for row, (place, encoding) in enumerate(zip(places, members, strict=True)):
                yield (
                    place,
                    {name: _own_part(array[row], encoding, backend.head) for name, array in outputs.items()},
                )
            if bar is not None:
                bar.update(len(places))


def _own_part(logits: npt.NDArray[np.float32], encoding: Encoding, head: str) -> npt.NDArray[np.float32]:
    match BY_NAME[head].outputs_per:
        case "token":
            return logits[: len(encoding.input_ids)]
        case "mask":
            return logits[: len(encoding.masked_positions)]
    return logits


def _check_finite(outputs: Logits, backend: Backend) -> None:
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise UserError(
            f"the model's output is not finite on backend {backend.name}: the weights are damaged, or the "
            "precision is too low. Try dtype fp32, and check the checkpoint with: debertav3 doctor PATH"
        )


def _bar(total: int, show_progress: bool | None) -> "AbstractContextManager[tqdm[NoReturn] | None]":
    """A progress bar, or None where none is shown."""
    if show_progress is None:
        show_progress = total >= _BAR_FROM and sys.stderr.isatty()
    if not show_progress:
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=total, unit=" inputs", leave=False, file=sys.stderr)
