"""Tokens, ids and special tokens of a tokenizer: everything that needs no text to be encoded."""

import logging
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, overload

from ..errors import UserError
from .alignment import WORD_MARK
from .engines import TokenizerEngine
from .padding import as_list
from .specials import SpecialTokens

logger = logging.getLogger(__name__)


class Vocabulary:
    """Look-ups between tokens and ids, under transformers' names.

    Args:
        engine: whose pieces these are.
        specials: the special tokens, and what a folder adds beside them.
    """

    def __init__(self, engine: TokenizerEngine, specials: SpecialTokens) -> None:
        self.engine = engine
        self.specials = specials
        self._outside = specials.all_ids
        self._ids = {piece: number for number, piece in enumerate(engine.pieces)} | self._outside
        self._tokens = {number: token for token, number in self._ids.items()}
        self._starts_word = [
            self._tokens.get(number, WORD_MARK)[:1] == WORD_MARK for number in range(len(self))
        ]

    def __len__(self) -> int:
        """One more than the largest id: the least size of an embedding table."""
        return max(self._tokens) + 1

    def check_fits(self, rows: int, *, place: str) -> None:
        """Refuse a model that has fewer embeddings than there are ids, and warn of one that has far more.

        Args:
            rows: of the model's word embeddings.
            place: the checkpoint, for messages.

        Raises:
            UserError: if an id would have no embedding.
        """
        if len(self) > rows:
            raise UserError(
                f"{place}: the tokenizer has {len(self):,} ids and the model {rows:,} embeddings: tokens "
                "were added without model.resize_token_embeddings(len(tokenizer)), or it is another model's. "
                "Use the tokenizer that the model was trained with."
            )
        if 2 * len(self) < rows:
            logger.warning(
                "%s: the tokenizer has %s ids and the model %s embeddings: is it another model's?",
                place,
                f"{len(self):,}",
                f"{rows:,}",
            )

    @property
    def pad_token(self) -> str:
        """The padding token as text."""
        return self.specials.names["pad_token"]

    @property
    def mask_token(self) -> str:
        """The mask as text."""
        return self.specials.names["mask_token"]

    @property
    def pad_token_id(self) -> int:
        """Id of ``[PAD]``."""
        return self.specials.ids["pad_token"]

    @property
    def cls_token_id(self) -> int:
        """Id of ``[CLS]``."""
        return self.specials.ids["cls_token"]

    @property
    def sep_token_id(self) -> int:
        """Id of ``[SEP]``."""
        return self.specials.ids["sep_token"]

    @property
    def unk_token_id(self) -> int:
        """Id of ``[UNK]``."""
        return self.specials.ids["unk_token"]

    @property
    def mask_token_id(self) -> int:
        """Id of ``[MASK]``."""
        return self.specials.ids["mask_token"]

    @property
    def all_special_tokens(self) -> list[str]:
        """The five special tokens, and the added ones that count as special, as text."""
        matching = self.specials.matching
        return [
            *self.specials.names.values(),
            *(token for token in self.specials.added if token in matching and matching[token].special),
        ]

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of `all_special_tokens`."""
        return [self._ids[token] for token in self.all_special_tokens]

    def get_vocab(self) -> dict[str, int]:
        """Id of every token."""
        return dict(self._ids)

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Sequence[int], skip_special_tokens: bool = False) -> list[str]: ...
    def convert_ids_to_tokens(
        self, ids: int | Sequence[int], skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Token of an id, or tokens of ids; ``[UNK]`` for ids that have none.

        Raises:
            UserError: for anything that is not an id.
        """
        ids = _as_ids(ids)
        if isinstance(ids, int):
            return self._tokens.get(ids, self.specials.names["unk_token"])
        hidden = self.all_special_ids if skip_special_tokens else ()
        return [self.convert_ids_to_tokens(number) for number in ids if number not in hidden]

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Id of a token, or ids of tokens; that of ``[UNK]`` for what is not in the vocabulary."""
        if isinstance(tokens, str):
            return self._ids.get(tokens, self.unk_token_id)
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Text of tokens."""
        text: str = self.decode(self.convert_tokens_to_ids(tokens))
        return text

    def get_special_tokens_mask(
        self, token_ids_0: Sequence[int], token_ids_1: None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for every special token of a finished row, as masking collators ask it.

        Raises:
            UserError: for ids that have no special tokens around them yet.
        """
        if token_ids_1 is not None or not already_has_special_tokens:
            raise UserError(
                "get_special_tokens_mask needs one finished row: call the tokenizer first, "
                "then pass its input_ids with already_has_special_tokens=True."
            )
        special = set(self.all_special_ids)
        return [int(number in special) for number in as_list(token_ids_0)]

    def decode(
        self,
        token_ids: object,
        skip_special_tokens: bool = False,
        *,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """Text of ids, as the normalizer left it; for rows of ids the text of each.

        Ids that have no token, such as those of a model's spare rows, are read as ``[UNK]``.

        Args:
            token_ids: an id, ids or rows of ids, in any sequence or tensor.
            skip_special_tokens: leave special tokens out.
            clean_up_tokenization_spaces: for transformers' callers; text is never changed after decoding.

        Raises:
            UserError: if such a change is asked for, or for anything that is not an id.
        """
        if clean_up_tokenization_spaces:
            raise UserError(
                "clean_up_tokenization_spaces changes text that DeBERTa's pieces already encode correctly. "
                "Leave it out, or use to_transformers().decode."
            )
        ids = _as_ids(token_ids)
        ids = [ids] if isinstance(ids, int) else list(map(_as_ids, ids))
        if any(isinstance(row, list | tuple) for row in ids):
            return [self.decode(row, skip_special_tokens) for row in ids]
        ids = [number if number in self._tokens else self.unk_token_id for number in ids]
        if skip_special_tokens:
            special = set(self.all_special_ids)
            ids = [number for number in ids if number not in special]
        outside = set(self._outside.values())
        text = ""
        for is_outside, group in groupby(ids, key=lambda number: number in outside):
            run = list(group)
            if is_outside:
                text += "".join(f" {self._tokens[number]}" for number in run)
            else:
                text += " " * self._starts_word[run[0]] + self.engine.decode(run)
        return text.removeprefix(" ")

    def batch_decode(
        self, sequences: object, skip_special_tokens: bool = False, **settings: bool | None
    ) -> list[str]:
        """Text of every row of ids; ``settings`` as for `decode`."""
        return [self.decode(row, skip_special_tokens, **settings) for row in as_list(sequences)]


def _as_ids(value: object) -> Any:
    """An id, or a row of ids, without tensors and arrays around it."""
    ids = as_list(value)
    if not isinstance(ids, int | list | tuple | range):
        ids = list(ids) if isinstance(ids, Iterable) and not isinstance(ids, str | bytes) else None
    if ids is None:
        raise UserError(f"ids must be whole numbers, or rows of them; got {value!r}.")
    return ids
