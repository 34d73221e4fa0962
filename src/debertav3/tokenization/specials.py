"""The special tokens of a tokenizer folder, and the tokens it adds: their strings, ids and how they match."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UserError

ROLES = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
"""What each special token is called in ``tokenizer_config.json``, and the string that DeBERTa uses for it."""

MAX_GAP = 100_000
"""Ids that added tokens may leave out, in all. Real gaps are the unused rows of an embedding table."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How an added token is found in text, in the words of Hugging Face's ``AddedToken``."""

    special: bool = False
    """Whether decoding without special tokens leaves it out."""
    normalized: bool = False
    """Whether it is looked for after normalization: the text around it then keeps its spaces."""
    single_word: bool = False
    """Whether it must not touch a letter or a digit."""
    lstrip: bool = False
    """Whether it takes the white space before it."""
    rstrip: bool = False
    """Whether it takes the white space after it."""

    @property
    def is_plain(self) -> bool:
        """Whether it is simply cut out of the text, wherever it is."""
        return not (self.normalized or self.single_word or self.lstrip or self.rstrip)


PLAIN = Matching()


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Strings and ids of the five special tokens, and of whatever a folder adds to the vocabulary."""

    names: Mapping[str, str]
    """String of each role of ``ROLES``."""
    ids: Mapping[str, int]
    """Id of each role."""
    added: Mapping[str, int] = field(default_factory=dict)
    """Tokens outside the model and the five roles, such as ``<e1>`` markers: always recognized in text."""
    matching: Mapping[str, Matching] = field(default_factory=dict)
    """How each of ``added`` is found; one that is absent is plain."""

    @classmethod
    def resolve(
        cls,
        *,
        pieces: list[str],
        names: Mapping[str, str],
        added: Mapping[str, int],
        matching: Mapping[str, Matching] | None = None,
        unnumbered: tuple[str, ...] = (),
    ) -> "SpecialTokens":
        """Find every role among the model's pieces and the added tokens.

        What is ``unnumbered`` and a mask token that nothing lists are appended after the last id, as the
        official tokenizer does.

        Args:
            pieces: of the model, by id.
            names: string of each role.
            added: id of every token that a file lists beside the pieces.
            matching: how the added tokens are found in text.
            unnumbered: tokens that a file names without an id, in order.

        Raises:
            UserError: if a role has no id, two tokens have one id, or an id cannot be right.
        """
        wanted = {*names.values(), *added, *unnumbered}
        known = {piece: number for number, piece in enumerate(pieces) if piece in wanted}
        _check_ids(added, known, pieces)
        known |= added
        for token in (*unnumbered, names["mask_token"]):
            known.setdefault(token, max(len(pieces), max(known.values(), default=-1) + 1))
        missing = [name for name in names.values() if name not in known]
        if missing:
            raise UserError(
                f"no id for {', '.join(missing)}: not in the model's {len(pieces)} pieces nor "
                "among the added tokens. Give a folder with a DeBERTa vocabulary, or name its tokens in "
                "tokenizer_config.json."
            )
        roles = set(names.values())
        others = {token: known[token] for token in (*added, *unnumbered) if token not in roles}
        return cls(
            names=names,
            ids={role: known[name] for role, name in names.items()},
            added=others,
            matching={token: how for token, how in (matching or {}).items() if token in others},
        )

    @property
    def all_ids(self) -> dict[str, int]:
        """Id of every token that the engine does not know, and of the five special ones, by string."""
        return {**self.added, **{self.names[role]: number for role, number in self.ids.items()}}

    @property
    def are_plain(self) -> bool:
        """Whether every added token is simply cut out of the text."""
        return all(how.is_plain for how in self.matching.values())

    def numbered(self, num_pieces: int) -> list[tuple[str, Matching]]:
        """Every token in the order of its id, in the form that Hugging Face's libraries need.

        They number added tokens one by one, so ids that are left out get a token that nobody types.

        Args:
            num_pieces: of the model; these have ids of their own.
        """
        roles = set(self.names.values())
        tokens = []
        following = num_pieces
        for token, number in sorted(self.all_ids.items(), key=lambda item: item[1]):
            tokens += [(f"<|reserved_token_{unused}|>", PLAIN) for unused in range(following, number)]
            how = Matching(special=True) if token in roles else self.matching.get(token, PLAIN)
            tokens.append((token, how))
            following = max(following, number + 1)
        return tokens


def _check_ids(added: Mapping[str, int], known: Mapping[str, int], pieces: list[str]) -> None:
    """Refuse ids that contradict the model's pieces or each other, or that are too high to be meant."""
    by_id: dict[int, str] = {}
    for token, number in added.items():
        if number < 0:
            raise UserError(f"{token!r} has the id {number}. Ids count from 0.")
        if number < len(pieces) and pieces[number] != token:
            raise UserError(
                f"{token!r} has the id {number}, which is {pieces[number]!r} in its vocabulary: "
                "its files are of two tokenizers. Copy all of them from one checkpoint."
            )
        if token in known and known[token] != number:
            raise UserError(
                f"{token!r} has the ids {number} and {known[token]}: its files are of two "
                "tokenizers. Copy all of them from one checkpoint."
            )
        if by_id.setdefault(number, token) != token:
            raise UserError(
                f"{by_id[number]!r} and {token!r} have the same id, {number}. "
                "Copy the tokenizer's files from the checkpoint again."
            )
    highest = max(added.values(), default=0)
    if highest >= len(pieces) + len(added) + MAX_GAP:
        raise UserError(
            f"{max(added, key=lambda token: added[token])!r} has the id {highest:,}, beside "
            f"{len(pieces):,} pieces: no model can have so many embeddings. "
            "Copy the tokenizer's files from the checkpoint again."
        )
