"""Texts to encoder inputs: checked, each different text tokenized once, long ones cut or laid in windows."""

from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..tasks.rows import shortened
from ..tasks.spans import ContextWindow, question_windows, token_windows, widest_context
from ..tasks.words import Span
from ..tokenization import DebertaV3Tokenizer
from .answers import FillableVocabulary
from .batching import WHOLE, Cut, Encoding, Packer

Text = str | tuple[str, str]
"""One text or a pair."""

WINDOW_OVERLAP = 128
"""Tokens that the windows of a long text share (BERT's figure for SQuAD)."""


class WindowedText(NamedTuple):
    """One text for a head that answers for every token."""

    text: str
    offsets: list[Span]
    """Characters of every token, without special tokens."""
    slices: list[slice]
    """Which tokens each window holds."""
    encodings: list[Encoding]
    """The windows as encoder inputs."""

    def join(self, window_logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Logits of every token, ``(tokens, ...)``, each from the window that sees most around it."""
        whole = [logits[1:-1] for logits in window_logits]  # without [CLS] and [SEP]
        if len(whole) == 1:
            return whole[0]
        chosen = widest_context(self.slices, len(self.offsets))
        joined = np.empty((len(self.offsets), *whole[0].shape[1:]), whole[0].dtype)
        for number, (window, logits) in enumerate(zip(self.slices, whole, strict=True)):
            is_own = chosen[window] == number
            joined[window][is_own] = logits[is_own]
        return joined


class WindowedQuestion(NamedTuple):
    """One question over the windows of its context."""

    context: str
    offsets: list[Span]
    windows: list[ContextWindow]
    is_cut: bool
    """Whether the question was too long."""


class MaskedText(NamedTuple):
    """One text with masks."""

    text: str
    masks: list[Span]
    """Characters of each mask."""
    encoding: Encoding


class InputEncoder:
    """Makes encoder inputs of texts.

    Args:
        tokenizer: text to ids.
        max_length: most tokens of one input, special tokens included.
    """

    def __init__(self, tokenizer: DebertaV3Tokenizer, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.packer = Packer(
            cls_id=tokenizer.cls_token_id,
            sep_id=tokenizer.sep_token_id,
            max_length=max_length,
            truncation_side=tokenizer.truncation_side,
        )

    @property
    def max_length(self) -> int:
        """Most tokens of one input, special tokens included."""
        return self.packer.max_length

    @cached_property
    def vocabulary(self) -> FillableVocabulary:
        """The pieces of the tokenizer."""
        specials = self.tokenizer.specials
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        return FillableVocabulary(pieces, sorted(specials.ids.values()))

    def texts(self, texts: Sequence[Text], *, cut: Cut = WHOLE) -> list[Encoding]:
        """Texts and pairs, cut to the length limit."""
        unique = dict.fromkeys(
            part for text in texts for part in ((text,) if isinstance(text, str) else text)
        )
        ids = dict(zip(unique, self.tokenizer.encode_batch(list(unique)), strict=True))
        return [
            self.packer.single(ids[text], cut=cut)
            if isinstance(text, str)
            else self.packer.pair(ids[text[0]], ids[text[1]], cut=cut)
            for text in texts
        ]

    def windowed(self, texts: Sequence[str]) -> list[WindowedText]:
        """Texts of any length, long ones in overlapping windows."""
        size = self.max_length - 2
        result = []
        for text, (ids, offsets) in zip(
            texts, self.tokenizer.encode_batch_with_offsets(list(texts)), strict=True
        ):
            slices = token_windows(len(ids), size=size, overlap=min(WINDOW_OVERLAP, size // 2))
            result.append(
                WindowedText(text, offsets, slices, [self.packer.single(ids[part]) for part in slices])
            )
        return result

    def questions(
        self, questions: Sequence[str], contexts: Sequence[str], *, overlap: int
    ) -> list[WindowedQuestion]:
        """Questions over contexts of any length; each different text is tokenized once."""
        asked = list(dict.fromkeys(questions))
        ids_of = dict(zip(asked, self.tokenizer.encode_batch(asked), strict=True))
        unique = list(dict.fromkeys(contexts))
        encoded = dict(zip(unique, self.tokenizer.encode_batch_with_offsets(unique), strict=True))
        result = []
        for question, context in zip(questions, contexts, strict=True):
            context_ids, offsets = encoded[context]
            windows = question_windows(
                ids_of[question],
                context_ids,
                cls_id=self.packer.cls_id,
                sep_id=self.packer.sep_id,
                max_length=self.max_length,
                overlap=overlap,
            )
            is_cut = windows[0].prefix - 2 < len(ids_of[question])
            result.append(WindowedQuestion(context, offsets, windows, is_cut))
        return result

    def masked(self, texts: Sequence[str]) -> list[MaskedText]:
        """Texts with the mask token in them; other special tokens in a text are plain text.

        Raises:
            UserError: if a text has no mask, or is too long.
        """
        return [self._masked(text) for text in texts]

    def piece_of(self, word: str) -> int:
        """The id of a word that is a single piece of the vocabulary.

        Raises:
            UserError: if it is none or several.
        """
        ids = self.tokenizer.encode(word)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise UserError(
                f"{shortened(word)} is not one piece of the vocabulary, but {len(ids)}; a mask is filled "
                "with one piece. Choose another word."
            )
        return ids[0]

    def _masked(self, text: str) -> MaskedText:
        mask = self.tokenizer.mask_token
        parts = text.split(mask)
        if len(parts) == 1:
            raise UserError(f"no {mask} in {shortened(text)}. Put {mask} where a word is to be predicted.")
        ids: list[int] = []
        positions, masks, place = [], [], 0
        for number, part in enumerate(parts):
            if number:
                masks.append((place, place + len(mask)))
                place += len(mask)
                positions.append(len(ids) + 1)  # [CLS] comes first
                ids.append(self.tokenizer.mask_token_id)
            ids += self._continued(part) if number else self.tokenizer.encode(part)
            place += len(part)
        if len(ids) > self.max_length - 2:
            raise UserError(
                f"{shortened(text)} has {len(ids)} tokens; need at most {self.max_length - 2}. Shorten it."
            )
        encoding = self.packer.single(ids)._replace(masked_positions=tuple(positions))
        return MaskedText(text, masks, encoding)

    def _continued(self, part: str) -> list[int]:
        """Ids of text that follows a mask: without the word mark that the tokenizer puts before any text."""
        ids = self.tokenizer.encode(part)
        if not ids or part[0].isspace():
            return ids
        first = self.tokenizer.convert_ids_to_tokens([ids[0]])[0].removeprefix("▁")
        if not first:
            return ids[1:]
        bare = self.tokenizer.convert_tokens_to_ids([first])[0]
        return ids if bare == self.tokenizer.unk_token_id else [bare, *ids[1:]]


def batch_of(value: object, *, what: str, pairs: bool = False) -> list[object] | None:
    """The items of a batch, whatever holds them; None for a single text or pair.

    Takes lists, tuples, generators, numpy arrays, pandas and polars Series, Arrow arrays, columns of
    ``datasets``.

    Args:
        value: what the caller gave.
        what: what one item is called in messages.
        pairs: whether a tuple of two texts is one pair, and so no batch.

    Raises:
        UserError: for tables, mappings and sets, whose items have no meaning or no order.
    """
    if isinstance(value, str):
        return None
    if pairs and isinstance(value, tuple) and len(value) == 2 and all(isinstance(x, str) for x in value):
        return None
    if isinstance(value, Mapping | Set | bytes | bytearray) or hasattr(value, "columns"):
        raise UserError(
            f"got a {type(value).__name__}; need a {what} or a sequence of them, such as a list. "
            "From a table or a dict, give one column."
        )
    for name in ("tolist", "to_pylist", "to_list"):  # numpy and pandas, Arrow, polars
        if hasattr(value, name):
            items = getattr(value, name)()
            return items if isinstance(items, list) else None  # an array without dimensions is one item
    return list(value) if isinstance(value, Iterable) else None


def groups_of(values: object, *, count: int, what: str, each: str) -> list[list[object]]:
    """One batch for each of several texts.

    Args:
        values: what the caller gave.
        count: of how many texts.
        what: what the items of a group are called in messages.
        each: what the groups belong to, in the plural.

    Raises:
        UserError: unless there is one batch for each.
    """
    groups = batch_of(values, what=what)
    batches = [] if groups is None else [batch_of(group, what=what) for group in groups]
    found = [group for group in batches if group is not None]
    if len(found) != count or len(batches) != count:
        raise UserError(f"need one list of {what}s for each of the {count} {each}; got {shortened(values)}.")
    return found


def check_text(text: object, *, what: str) -> str:
    """Refuse anything that is not text, or is only white space.

    Raises:
        UserError: naming ``what``.
    """
    if not isinstance(text, str):
        raise UserError(f"{what} must be a text, got {type(text).__name__}.")
    if not text.strip():
        raise UserError(f"{what} is empty. Give a text with at least one character that is not white space.")
    return text


def check_texts(texts: Iterable[object], *, what: str) -> list[str]:
    """`check_text` for each of many."""
    return [check_text(text, what=f"{what} {number}") for number, text in enumerate(texts)]


def check_pair(pair: object, *, what: str) -> tuple[str, str]:
    """Refuse anything that is not a pair of texts.

    Raises:
        UserError: naming ``what``.
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UserError(f"{what} must be two texts, such as (premise, hypothesis); got {shortened(pair)}.")
    first, second = pair
    return check_text(first, what=f"first text of {what}"), check_text(second, what=f"second text of {what}")


def labels_per_text(labels: object, *, num_texts: int) -> list[list[str]]:
    """The candidate labels of each text, from one list for all or a list for each.

    Raises:
        UserError: if a text has no labels, or a label is not a text.
    """
    items = batch_of(labels, what="label")
    if items and all(isinstance(label, str) for label in items):
        return [check_texts(items, what="label")] * num_texts
    per_text = [None if isinstance(own, str) else batch_of(own, what="label") for own in items or []]
    if len(per_text) != num_texts or not all(per_text):
        raise UserError(
            f"labels must be a list of texts, or one such list for each of the {num_texts} texts, "
            f"none empty; got {shortened(labels)}."
        )
    return [check_texts(own or [], what="label") for own in per_text]
