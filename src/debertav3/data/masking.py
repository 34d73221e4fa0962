"""Which tokens the generator must guess: the official windowed choice, unbiased, whole words and n-grams.

What the official code does (apps/tasks/mlm_task.py, NGramMaskGenerator) and what differs here is said at each
function. All draws come from one Philox stream per sample, keyed by (seed, global sample index), so masks
depend on nothing else.
"""

import math
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tokenization.alignment import WORD_MARK
from .masking_config import MaskingConfig

IGNORED = -100
MAX_NGRAM = 3


@dataclass(frozen=True)
class MaskingVocabulary:
    """What masking must know of the vocabulary.

    Attributes:
        mask_id: id of [MASK].
        pad_id: id of [PAD].
        size: random tokens are drawn below this.
        is_special: ``(size,)`` bool: [PAD], [CLS], [SEP], [UNK] and [MASK], which are never chosen.
        begins_word: ``(size,)`` bool: pieces that begin a word; see `begins_word`.
    """

    mask_id: int
    pad_id: int
    size: int
    is_special: NDArray[np.bool_]
    begins_word: NDArray[np.bool_]


def begins_word(piece: str) -> bool:
    """Whether a piece begins a word: by the word mark U+2581, or as a punctuation mark of its own.

    As officially (``SPMTokenizer.part_of_whole_word`` in ``deberta/spm_tokenizer.py``): a piece of one
    character that is punctuation, white space or a control character begins a word, and what follows without
    a word mark belongs to it, as the ``t`` of ``don ' t``. ASCII signs such as ``$`` count as punctuation.
    """
    if piece.startswith(WORD_MARK):
        return True
    if len(piece) != 1:
        return False
    is_ascii_sign = piece.isascii() and piece.isprintable() and not piece.isalnum()
    return is_ascii_sign or unicodedata.category(piece)[0] in "PC" or piece.isspace()


@dataclass(frozen=True)
class Masked:
    """A masked window.

    Attributes:
        input_ids: ``(length,)`` int64, chosen tokens replaced.
        positions: ``(chosen,)`` int64, ascending.
        targets: ``(chosen,)`` int64, the tokens that stood there.
        uniforms: ``(chosen,)`` float64 in [0, 1), for drawing the generator's tokens.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    targets: NDArray[np.int64]
    uniforms: NDArray[np.float64]


def sample_generator(seed: int, sample_index: int) -> np.random.Generator:
    """The random stream of one sample."""
    key = np.array([seed % 2**64, sample_index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def mask_window(
    input_ids: NDArray[np.int64],
    vocabulary: MaskingVocabulary,
    config: MaskingConfig,
    rng: np.random.Generator,
) -> Masked:
    """Choose and replace tokens of one window.

    Args:
        input_ids: ``(length,)``, with special tokens and padding.
        vocabulary: see `MaskingVocabulary`.
        config: how to choose and replace.
        rng: see `sample_generator`.
    """
    candidates = np.flatnonzero(~vocabulary.is_special[input_ids])
    budget = official_budget(
        len(input_ids), int(np.count_nonzero(input_ids != vocabulary.pad_id)), config.mask_prob
    )
    if config.strategy == "windowed":
        positions = choose_windowed(candidates, budget, config.mask_prob, rng)
    elif config.strategy == "unbiased":
        positions = choose_unbiased(candidates, config.mask_prob, rng)
    else:
        words = word_numbers(candidates, input_ids, vocabulary.begins_word)
        if config.strategy == "whole-word":
            positions = choose_whole_words(candidates, words, config.mask_prob, rng)
        else:
            positions = choose_ngrams(candidates, words, budget, config.mask_prob, rng)
    masked = input_ids.copy()
    masked[positions] = _replacements(input_ids[positions], vocabulary, config, rng)
    return Masked(masked, positions, input_ids[positions], rng.random(len(positions)))


def official_budget(length: int, num_tokens: int, mask_prob: float) -> int:
    """The official largest number of chosen tokens, 77 for 512 at 15 %.

    Args:
        length: tokens a window can hold.
        num_tokens: tokens it holds, special tokens counted, padding not.
        mask_prob: share to choose.
    """
    return min(math.ceil(length * mask_prob / 10) * 10, max(1, round(num_tokens * mask_prob)))


def choose_windowed(
    candidates: NDArray[np.int64], budget: int, mask_prob: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """One token of every ``int(1 / mask_prob)`` (6 at 15 %), from the left, up to ``budget`` tokens.

    The official choice for RTD. Because 1/6 exceeds 15 %, the budget ends before the window does: of 512
    tokens the last 48 or so are never masked.
    """
    width = int(1 / mask_prob)
    begins = np.arange(0, len(candidates), width)
    widths = np.minimum(width, len(candidates) - begins)
    chosen = begins + np.floor(rng.random(len(begins)) * widths).astype(np.int64)
    return candidates[chosen[:budget]]


def choose_unbiased(
    candidates: NDArray[np.int64], mask_prob: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """``round(mask_prob * tokens)`` tokens (at least one), all equally probable: no unmasked tail."""
    if not len(candidates):
        return candidates
    number = max(1, round(mask_prob * len(candidates)))
    return np.sort(rng.choice(candidates, size=number, replace=False))


def word_numbers(
    candidates: NDArray[np.int64], input_ids: NDArray[np.int64], begins_word: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Number of the word that each candidate belongs to.

    As officially a word begins at a piece with the word mark or at a punctuation mark (`begins_word`).
    Deviation: it also begins after a token that is not a candidate, so that words never reach over [SEP] into
    another document
    (test_words_do_not_cross_special_tokens).
    """
    if not len(candidates):
        return candidates
    begins = begins_word[input_ids[candidates]].copy()
    begins[0] = True
    begins[1:] |= np.diff(candidates) > 1
    return np.cumsum(begins) - 1


def choose_whole_words(
    candidates: NDArray[np.int64], words: NDArray[np.int64], mask_prob: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Whole words in random order up to ``round(mask_prob * tokens)`` tokens, passing over words too long."""
    if not len(candidates):
        return candidates
    sizes = np.bincount(words)
    budget = max(1, round(mask_prob * len(candidates)))
    chosen = np.zeros(len(sizes), dtype=bool)
    left = budget
    for word in rng.permutation(len(sizes)):
        if sizes[word] <= left or left == budget:
            chosen[word] = True
            left -= int(sizes[word])
        if left <= 0:
            break
    return candidates[chosen[words]]


def choose_ngrams(
    candidates: NDArray[np.int64],
    words: NDArray[np.int64],
    budget: int,
    mask_prob: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The official choice for MLM: n-grams of whole words, n of 1 to 3 with probability proportional to 1/n.

    In every stretch of ``n * int(1 / mask_prob)`` words one n-gram begins at a random place; words are taken
    from the left until ``budget`` tokens are chosen, the last word whole.
    """
    if not len(candidates):
        return candidates
    num_words = int(words[-1]) + 1
    width = int(1 / mask_prob)
    weights = 1 / np.arange(1, MAX_NGRAM + 1)
    cumulative = np.cumsum(weights / weights.sum())
    chosen = np.zeros(num_words, dtype=bool)
    offset = 0
    while offset < num_words:
        size = min(int(np.searchsorted(cumulative, rng.random(), side="right")), MAX_NGRAM - 1) + 1
        context = min(size * width, num_words - offset)
        begin = offset + int(rng.random() * context)
        end = min(begin + size, num_words)
        chosen[begin:end] = True
        offset = max(offset + context, end)
    tokens_up_to = np.cumsum(np.bincount(words) * chosen)
    chosen &= np.concatenate([[0], tokens_up_to[:-1]]) < budget
    return candidates[chosen[words]]


def _replacements(
    targets: NDArray[np.int64], vocabulary: MaskingVocabulary, config: MaskingConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    masks = np.full_like(targets, vocabulary.mask_id)
    if config.always_mask:
        return masks
    draw = rng.random(len(targets))
    random_tokens = rng.integers(0, vocabulary.size, size=len(targets))
    return np.where(draw < 0.8, masks, np.where(draw < 0.9, random_tokens, targets))
