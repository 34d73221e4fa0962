"""Contract: sample i is the same in every layout of processes, workers and resumes; windows lose no token."""

import json
import pickle
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.data.masking import MaskingVocabulary
from debertav3.data.masking_config import MaskingConfig
from debertav3.data.permutation import Permutation
from debertav3.data.samples import PretrainingData, open_windows, segment_layout
from debertav3.data.shards import FORMAT, INDEX_NAME, ShardWriter, TokenShards, token_dtype
from debertav3.data.windows import MIN_PIECE, PackedWindows, SpecialIds, window_begins
from debertav3.errors import UserError
from debertav3.pretrain.batches import MaskedBatch, Share, Stretch, load_steps

SIZE = 300
SPECIAL = SpecialIds(pad=0, cls=1, sep=2, mask=299, unk=3)
IS_SPECIAL = np.zeros(SIZE, dtype=bool)
IS_SPECIAL[[0, 1, 2, 3, 299]] = True
VOCABULARY = MaskingVocabulary(
    mask_id=299, pad_id=0, size=SIZE, is_special=IS_SPECIAL, begins_word=IS_SPECIAL
)


def write_shards(folder: Path, documents: list[list[list[int]]]) -> TokenShards:
    """One shard for each list of documents."""
    rows = []
    for number, shard in enumerate(documents):
        with ShardWriter(folder / "train", f"{number:05d}", token_dtype(SIZE)) as writer:
            for document in shard:
                writer.add(document)
        rows.append(writer.facts())
    index = {
        "format": FORMAT, "vocab_size": SIZE, "dtype": token_dtype(SIZE).str, "fingerprint": "x",
        "statistics": {},
        "splits": {"train": rows, "heldout": []},
    }  # fmt: skip
    (folder / INDEX_NAME).write_text(json.dumps(index))
    return TokenShards(folder)


@pytest.fixture(scope="module")
def documents() -> list[list[list[int]]]:
    random = np.random.default_rng(0)
    lengths = [[3, 40, 1, 200, 17], [5, 5, 5, 5, 5, 5, 90], [64]]
    return [[random.integers(4, 299, n).tolist() for n in shard] for shard in lengths]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, documents: list[list[list[int]]]) -> TokenShards:
    return write_shards(tmp_path_factory.mktemp("shards"), documents)


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 5), st.integers(0, 3))
def test_the_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed=seed, epoch=epoch)(np.arange(size))
    assert np.array_equal(np.sort(order), np.arange(size))


def test_the_order_depends_on_seed_and_epoch_and_works_for_huge_sizes() -> None:
    positions = np.arange(1000)
    orders = [Permutation(1000, seed=s, epoch=e)(positions) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert len({order.tobytes() for order in orders}) == 3
    huge = Permutation(10**12, seed=3)
    values = huge(np.array([0, 1, 10**12 - 1]))
    assert len(set(values.tolist())) == 3 and values.max() < 10**12
    assert abs(np.corrcoef(positions, orders[0])[0, 1]) < 0.1
    with pytest.raises(IndexError):
        huge(10**12)


def test_the_stream_is_cut_without_loss(shards: TokenShards, documents: list[list[list[int]]]) -> None:
    windows = open_windows(shards, packing="stream", length=22, special=SPECIAL)
    stream = [token for shard in documents for document in shard for token in document]
    assert len(windows) == len(stream) // 20
    found = [windows[i].input_ids for i in range(len(windows))]
    assert all(w[0] == SPECIAL.cls and w[-1] == SPECIAL.sep for w in found)
    assert np.concatenate([w[1:-1] for w in found]).tolist() == stream[: 20 * len(windows)]


@pytest.mark.parametrize("length", [18, 22, 64, 128])
def test_packed_windows_hold_every_document_in_order_and_nothing_across(
    shards: TokenShards, documents: list[list[list[int]]], length: int
) -> None:
    windows = open_windows(shards, packing="documents", length=length, special=SPECIAL)
    pieces = []
    for i in range(len(windows)):
        window = windows[i]
        for segment in range(window.segment_ids.max() + 1):
            ids = window.input_ids[window.segment_ids == segment]
            assert ids[0] == SPECIAL.cls and ids[-1] == SPECIAL.sep and len(ids) > 2
            pieces.append(ids[1:-1].tolist())
        assert (window.input_ids[window.segment_ids == -1] == SPECIAL.pad).all()
    whole = [document for shard in documents for document in shard]
    assert list(chain(*pieces)) == list(chain(*whole))
    ends = set(np.cumsum([len(document) for document in whole]).tolist())
    position = 0
    for piece in pieces:
        inside = [end for end in ends if position < end < position + len(piece)]
        assert not inside
        position += len(piece)


@settings(max_examples=80)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(MIN_PIECE + 2, 40))
def test_packed_windows_never_overflow(lengths: list[int], length: int) -> None:
    ends = np.cumsum(lengths).astype(np.uint64)
    begins = [*window_begins(ends, length).tolist(), int(ends[-1])]
    for begin, stop in pairwise(begins):
        inside = [e for e in ends.tolist() if begin < e < stop]
        assert begin < stop and stop - begin + 2 * (len(inside) + 1) <= length


def test_the_plan_of_packing_is_kept_and_equal_when_read_again(shards: TokenShards) -> None:
    first = open_windows(shards, packing="documents", length=32, special=SPECIAL)
    again = open_windows(shards, packing="documents", length=32, special=SPECIAL)
    assert (shards.folder / "train" / "windows").is_dir()
    for i in range(len(first)):
        assert np.array_equal(first[i].input_ids, again[i].input_ids)


def test_segment_layout_counts_within_segments() -> None:
    starts, offsets = segment_layout(np.array([[0, 0, 0, 1, 1, -1, -1]]))
    assert starts.tolist() == [[0, 0, 0, 3, 3, 5, 5]]
    assert offsets.tolist() == [[0, 1, 2, 0, 1, 0, 1]]


def data_of(shards: TokenShards, packing: str = "documents") -> PretrainingData:
    windows = open_windows(shards, packing=packing, length=32, special=SPECIAL)
    return PretrainingData(windows, VOCABULARY, MaskingConfig(strategy="unbiased"), seed=9)


def test_every_window_comes_once_per_epoch(shards: TokenShards) -> None:
    data = data_of(shards, "stream")
    size = len(data)
    for epoch in (0, 1):
        seen = {data.window(i).input_ids.tobytes() for i in range(epoch * size, (epoch + 1) * size)}
        assert seen == {data.windows[i].input_ids.tobytes() for i in range(size)}


def test_data_reach_a_worker_that_is_not_forked(shards: TokenShards) -> None:
    data = data_of(shards, "stream")
    data.window(0)
    copied = pickle.loads(pickle.dumps(data))
    assert [copied.window(i).input_ids.tobytes() for i in range(9)] == [
        data.window(i).input_ids.tobytes() for i in range(9)
    ]


def always_fifteen_percent(step: int) -> float:
    return 0.15


def all_samples(
    data: PretrainingData,
    *,
    world_size: int,
    micro_batch_size: int,
    first: int = 0,
    last: int = 3,
    workers: int = 0,
) -> list[torch.Tensor]:
    """What all processes together see, step by step, in the order of global indices."""
    steps: dict[int, list[torch.Tensor]] = {}
    for rank in range(world_size):
        share = Share(batch_size=8, micro_batch_size=micro_batch_size, rank=rank, world_size=world_size)
        loaded = load_steps(
            [Stretch(data, share, last)], always_fifteen_percent, first_step=first, num_workers=workers
        )
        for number, batches in enumerate(loaded):
            steps.setdefault(number, []).extend(
                torch.cat([batch.input_ids, batch.filled_with(batch.targets)], dim=1) for batch in batches
            )
    return [torch.cat(rows) for _, rows in sorted(steps.items())]


@pytest.mark.parametrize(
    "layout", [{"world_size": 2}, {"world_size": 4}, {"micro_batch_size": 3}, {"workers": 2}], ids=str
)
def test_samples_and_masks_do_not_depend_on_the_layout(shards: TokenShards, layout: dict[str, int]) -> None:
    data = data_of(shards)
    plain = all_samples(data, world_size=1, micro_batch_size=8)
    other = all_samples(data, **{"world_size": 1, "micro_batch_size": 8, **layout})
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_resuming_continues_the_same_samples(shards: TokenShards) -> None:
    data = data_of(shards)
    whole = all_samples(data, world_size=1, micro_batch_size=4)
    rest = all_samples(data_of(shards), world_size=2, micro_batch_size=4, first=1)
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], rest, strict=True))


def test_batches_mask_across_segments_and_padding(shards: TokenShards) -> None:
    data = data_of(shards)
    raw = data.batch(list(range(6)))
    batch = MaskedBatch.from_numpy(raw)
    pairs, real = batch.pairs(), batch.real
    assert pairs is not None and real is not None and raw.segment_ids is not None
    for row, segments in enumerate(raw.segment_ids):
        for i, own in enumerate(segments):
            wanted = (segments == own) & (segments >= 0) & (own >= 0)
            assert pairs[row, i].tolist() == wanted.tolist()
    assert torch.equal(batch.filled_with(batch.targets)[~real], torch.zeros(int((~real).sum())).long())
    assert batch.num_real == int((raw.segment_ids >= 0).sum())


def test_damaged_or_foreign_folders_are_refused(tmp_path: Path, documents: list[list[list[int]]]) -> None:
    with pytest.raises(UserError, match="data prepare"):
        TokenShards(tmp_path)
    write_shards(tmp_path, documents)
    path = tmp_path / "train" / "00000.tokens"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="bytes, the index says"):
        TokenShards(tmp_path)
    (tmp_path / INDEX_NAME).write_text("{}")
    with pytest.raises(UserError, match="is not a"):
        TokenShards(tmp_path)


@pytest.mark.parametrize("ending", ["tokens", "ends"])
def test_one_flipped_bit_is_noticed_at_opening(
    tmp_path: Path, documents: list[list[list[int]]], ending: str
) -> None:
    write_shards(tmp_path, documents)
    path = tmp_path / "train" / f"00001.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"00001\.{ending} is damaged"):
        TokenShards(tmp_path)


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"holds the id {SIZE}, and the vocabulary has only {SIZE} ids"):
        write_shards(tmp_path, [[[5, SIZE]]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": None}, "vocab_size"),
        ({"vocab_size": 70_000}, "dtype"),
        ({"fingerprint": 1}, "fingerprint"),
        ({"splits": {}}, "splits"),
        ({"splits": {"train": [{}], "heldout": []}}, "name"),
        ({"splits": {"train": [{"name": "../x"}], "heldout": []}}, "name"),
        ({"splits": {"train": [{"name": "0", "num_tokens": -1}], "heldout": []}}, "counts"),
        ({"tokenizer": "0" * 64}, "is not the tokenizer that made these shards"),
    ],
)
def test_an_index_that_cannot_be_is_refused(
    tmp_path: Path, documents: list[list[list[int]]], change: dict[str, Any], message: str
) -> None:
    write_shards(tmp_path, documents)
    path = tmp_path / INDEX_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        TokenShards(tmp_path)


def test_kept_window_plans_are_used_only_if_they_are_whole_and_of_these_documents(
    tmp_path: Path, documents: list[list[list[int]]]
) -> None:
    def windows() -> list[list[int]]:
        opened = PackedWindows(write_shards(tmp_path, documents), length=32, special=SPECIAL)
        return [opened[index].input_ids.tolist() for index in range(len(opened))]

    wanted = windows()
    kept = sorted((tmp_path / "train" / "windows").iterdir())
    assert len(kept) == len(documents)
    for path in kept:
        content = bytearray(path.read_bytes())
        content[-12] ^= 1
        path.write_bytes(content)
    assert windows() == wanted
    documents = [[shard[0], *shard] for shard in documents]
    assert windows() != wanted


def test_too_little_text_for_one_window_is_refused(shards: TokenShards) -> None:
    with pytest.raises(UserError, match="too few"):
        open_windows(shards, packing="stream", length=4096, special=SPECIAL)


def test_an_interrupted_shard_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        ShardWriter(tmp_path / "train", "00000", token_dtype(SIZE)) as writer,
    ):
        writer.add([4, 5])
        raise RuntimeError
    assert not list((tmp_path / "train").iterdir())


def test_token_dtype_is_the_smallest_that_fits() -> None:
    assert token_dtype(65_536).itemsize == 2 and token_dtype(65_537).itemsize == 4
