"""Contract: masks are official where they claim it, spare special tokens, depend only on (seed, sample)."""

from pathlib import Path

import numpy as np
import pytest

from debertav3.data.masking import (
    MaskingVocabulary,
    begins_word,
    choose_unbiased,
    choose_windowed,
    mask_window,
    official_budget,
    sample_generator,
    word_numbers,
)
from debertav3.data.masking_config import STRATEGIES, MaskingConfig
from debertav3.data.samples import vocabulary_of
from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer

SIZE, MASK, PAD, CLS, SEP, UNK = 1000, 999, 0, 1, 2, 3
SPECIAL = np.zeros(SIZE, dtype=bool)
SPECIAL[[PAD, CLS, SEP, UNK, MASK]] = True
BEGINS = np.arange(SIZE) % 3 == 0
VOCABULARY = MaskingVocabulary(mask_id=MASK, pad_id=PAD, size=SIZE, is_special=SPECIAL, begins_word=BEGINS)


def window(length: int = 512, seed: int = 0, padding: int = 0) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(4, SIZE - 1, length)
    ids[0], ids[length - padding - 1] = CLS, SEP
    ids[length - padding :] = PAD
    ids[7] = UNK
    ids[length // 2] = SEP
    return ids


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("always_mask", [True, False])
def test_masks_are_a_function_of_seed_and_sample_and_spare_specials(strategy: str, always_mask: bool) -> None:
    config = MaskingConfig(strategy=strategy, always_mask=always_mask)
    ids = window(padding=20)
    first = mask_window(ids, VOCABULARY, config, sample_generator(5, 77))
    again = mask_window(ids, VOCABULARY, config, sample_generator(5, 77))
    other = mask_window(ids, VOCABULARY, config, sample_generator(5, 78))
    for name in ("input_ids", "positions", "targets", "uniforms"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.positions, other.positions)
    assert not SPECIAL[first.targets].any()
    assert np.array_equal(first.targets, ids[first.positions])
    untouched = np.ones(len(ids), dtype=bool)
    untouched[first.positions] = False
    assert np.array_equal(first.input_ids[untouched], ids[untouched])
    assert (np.diff(first.positions) > 0).all()
    assert ((first.uniforms >= 0) & (first.uniforms < 1)).all()
    assert (first.input_ids[first.positions] == MASK).all() or not always_mask


def test_official_windows_hold_one_masked_token_each_and_leave_the_tail() -> None:
    candidates = np.arange(1, 511)
    assert official_budget(512, 512, 0.15) == 77
    ever = np.zeros(512, dtype=bool)
    for sample in range(300):
        chosen = choose_windowed(candidates, 77, 0.15, sample_generator(0, sample))
        assert len(chosen) == 77
        assert np.array_equal((chosen - 1) // 6, np.arange(77))
        ever[chosen] = True
    assert ever[1:463].all() and not ever[463:].any()


def test_unbiased_choice_masks_every_place_alike() -> None:
    candidates = np.arange(1, 511)
    counts = np.zeros(512)
    rounds = 4000
    for sample in range(rounds):
        chosen = choose_unbiased(candidates, 0.15, sample_generator(0, sample))
        assert len(chosen) == 76
        counts[chosen] += 1
    share = counts[1:511] / rounds
    spread = (0.149 * 0.851 / rounds) ** 0.5
    assert abs(share - 76 / 510).max() < 5 * spread


def test_replacement_is_80_10_10() -> None:
    config = MaskingConfig(strategy="unbiased", always_mask=False)
    masked = random = kept = total = 0
    for sample in range(300):
        ids = window(seed=sample)
        result = mask_window(ids, VOCABULARY, config, sample_generator(1, sample))
        new = result.input_ids[result.positions]
        masked += (new == MASK).sum()
        kept += (new == result.targets).sum()
        random += ((new != MASK) & (new != result.targets)).sum()
        total += len(new)
    assert np.allclose([masked / total, random / total, kept / total], [0.8, 0.1, 0.1], atol=0.01)


def test_words_do_not_cross_special_tokens() -> None:
    ids = np.array([CLS, 5, 6, 7, SEP, 7, 8, 9, SEP])
    candidates = np.flatnonzero(~SPECIAL[ids])
    assert word_numbers(candidates, ids, BEGINS).tolist() == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        # By the official SPMTokenizer.part_of_whole_word and NGramMaskGenerator.
        ("▁The ▁cat , ▁black . ▁It", [0, 1, 2, 3, 4, 5]),
        ("▁don ' t ▁un believ able !", [0, 1, 1, 2, 2, 2, 3]),
        ("▁$ 5 % ▁x ^ 2 — y", [0, 0, 1, 2, 3, 3, 4, 4]),
        ("▁a ... ▁b 。 c", [0, 0, 1, 2, 2]),  # a mark of several characters is a part of its word
        ("▁ ( a )", [0, 1, 1, 2]),
    ],
)
def test_punctuation_is_a_word_of_its_own(pieces: str, words: list[int]) -> None:
    begins = np.array([begins_word(piece) for piece in pieces.split(" ")])
    ids = np.arange(len(begins))
    assert word_numbers(ids, ids, begins).tolist() == words


def test_the_vocabulary_of_a_tokenizer_knows_its_punctuation(nano: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    vocabulary = vocabulary_of(tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marks = [number for number, piece in enumerate(pieces) if len(piece) == 1 and piece in ".,;:!?()'"]
    assert len(marks) > 4 and vocabulary.begins_word[marks].all()
    letters = [number for number, piece in enumerate(pieces) if len(piece) == 1 and piece.isalpha()]
    assert letters and not vocabulary.begins_word[letters].any()
    ids = np.array(tokenizer("Yes, no, no, yes. " * 40, add_special_tokens=False)["input_ids"])
    words = word_numbers(np.arange(len(ids)), ids, vocabulary.begins_word)
    assert words[-1] + 1 >= 40 * 8  # four words and four marks a sentence


@pytest.mark.parametrize("strategy", ["whole-word", "ngram"])
def test_words_are_masked_whole(strategy: str) -> None:
    config = MaskingConfig(strategy=strategy)
    shares = []
    for sample in range(200):
        ids = window(seed=sample)
        result = mask_window(ids, VOCABULARY, config, sample_generator(2, sample))
        candidates = np.flatnonzero(~SPECIAL[ids])
        words = word_numbers(candidates, ids, BEGINS)
        chosen = np.isin(candidates, result.positions)
        for word in np.unique(words[chosen]):
            assert chosen[words == word].all()
        shares.append(len(result.positions) / len(candidates))
    assert 0.13 < np.mean(shares) < 0.17


def test_n_grams_have_up_to_three_words_with_probability_falling_as_one_over_n() -> None:
    config = MaskingConfig(strategy="ngram")
    runs = np.zeros(10)
    for sample in range(600):
        ids = np.full(512, 3 * 5)  # every piece begins a word
        ids[0], ids[-1] = CLS, SEP
        result = mask_window(ids, VOCABULARY, config, sample_generator(3, sample))
        edges = np.flatnonzero(np.diff(result.positions) > 1)
        lengths = np.diff(np.concatenate([[-1], edges, [len(result.positions) - 1]]))
        runs += np.bincount(np.minimum(lengths, 9), minlength=10)
    # Neighbouring n-grams sometimes touch and read as one longer run; the order of frequencies stays.
    assert runs[1] > runs[2] > runs[3] > runs[4:].max()


def test_a_window_without_ordinary_tokens_masks_nothing() -> None:
    ids = np.array([CLS, SEP, PAD, PAD])
    for strategy in STRATEGIES:
        result = mask_window(ids, VOCABULARY, MaskingConfig(strategy=strategy), sample_generator(0, 0))
        assert not len(result.positions) and np.array_equal(result.input_ids, ids)


@pytest.mark.parametrize("wrong", [{"strategy": "all"}, {"mask_prob": 0.0}, {"mask_prob": 0.6}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        MaskingConfig(**wrong)  # type: ignore[arg-type]
