"""Contract: generator, discriminator and Δ survive loading and saving bit for bit; Δ is never lost unsaid."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from debertav3 import models
from debertav3.checkpoint import open_model, open_trio, save_trio, trained_trio
from debertav3.checkpoint.keys import TABLES, delta_key, table_key
from debertav3.errors import UserError
from debertav3.sizes import raw_config

SIZES = {
    "vocab_size": 99,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 32,
    "position_buckets": 8,
    "initializer_range": 0.1,
}
DISCRIMINATOR = raw_config("nano", **SIZES, num_hidden_layers=4)
GENERATOR = raw_config("nano", **SIZES, num_hidden_layers=2)


def network(kind: Any, raw: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(kind(transformers.DebertaV2Config(**raw)).state_dict())


@pytest.fixture(scope="module")
def generator() -> dict[str, torch.Tensor]:
    return network(models.DebertaV2ForMaskedLM, GENERATOR, 1)


@pytest.fixture(scope="module")
def discriminator(generator: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the official code saves it: Δ as ``_weight``, and ``weight`` one training step behind E_G + Δ."""
    state = network(models.DebertaV2ForReplacedTokenDetection, DISCRIMINATOR, 2)
    for seed, table in enumerate(TABLES):
        torch.manual_seed(seed)
        delta = 0.3 * torch.randn_like(state[table_key(table)])
        one_step = 1e-3 * torch.randn_like(delta)
        state[delta_key(table)] = delta
        state[table_key(table)] = generator[table_key(table)] + delta + one_step
    return state


def write_official(
    folder: Path, discriminator: dict[str, torch.Tensor], generator: dict[str, torch.Tensor] | None
) -> None:
    """The layout of the released folders: ``.bin`` files, the generator beside the discriminator."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(DISCRIMINATOR))
    torch.save(discriminator, folder / "pytorch_model.bin")
    if generator is not None:
        torch.save(generator, folder / "pytorch_model.generator.bin")


def without_delta(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("._weight")}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_official_files_survive_the_round_trip_bit_for_bit(
    dtype: torch.dtype, discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    discriminator = {name: tensor.to(dtype) for name, tensor in discriminator.items()}
    generator = {name: tensor.to(dtype) for name, tensor in generator.items()}
    write_official(tmp_path / "official", discriminator, generator)
    save_trio(open_trio(tmp_path / "official"), tmp_path / "ours")
    assert_same(load_file(tmp_path / "ours" / "model.safetensors"), discriminator)
    assert_same(load_file(tmp_path / "ours" / "generator" / "model.safetensors"), generator)
    again = open_trio(tmp_path / "ours")
    assert_same(again.discriminator, discriminator)
    assert_same(again.generator or {}, generator)
    assert again.generator_config is not None and again.generator_config["num_hidden_layers"] == 2


def test_case_delta_and_generator(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    write_official(tmp_path, discriminator, generator)
    trio = open_trio(tmp_path)
    for table in TABLES:
        shared = trio.tables[table]
        assert shared.source == "stored"
        assert torch.equal(shared.delta, discriminator[delta_key(table)])
        assert torch.equal(shared.generator, generator[table_key(table)])
        # E_D is what training had reached, not the weight that was one step behind.
        assert torch.equal(
            shared.discriminator, generator[table_key(table)] + discriminator[delta_key(table)]
        )


def test_case_generator_without_delta(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    write_official(tmp_path, without_delta(discriminator), generator)
    trio = open_trio(tmp_path)
    for table in TABLES:
        shared = trio.tables[table]
        assert shared.source == "difference"
        assert torch.equal(shared.generator, generator[table_key(table)])
        assert torch.equal(shared.delta, discriminator[table_key(table)] - generator[table_key(table)])
        torch.testing.assert_close(shared.discriminator, discriminator[table_key(table)])


def test_case_delta_without_generator(discriminator: dict, tmp_path: Path) -> None:
    write_official(tmp_path, discriminator, None)
    trio = open_trio(tmp_path)
    assert trio.generator is None and trio.generator_config is None
    for table in TABLES:
        shared = trio.tables[table]
        assert shared.source == "stored"
        assert torch.equal(shared.delta, discriminator[delta_key(table)])
        torch.testing.assert_close(shared.discriminator, discriminator[table_key(table)])


def test_case_neither_delta_nor_generator(discriminator: dict, tmp_path: Path) -> None:
    write_official(tmp_path, without_delta(discriminator), None)
    trio = open_trio(tmp_path)
    for table in TABLES:
        shared = trio.tables[table]
        assert shared.source == "zero" and not shared.delta.any()
        assert torch.equal(shared.generator, discriminator[table_key(table)])


def test_generator_of_another_run_does_not_change_the_discriminator(
    discriminator: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_official(tmp_path, discriminator, network(models.DebertaV2ForMaskedLM, GENERATOR, 77))
    trio = open_trio(tmp_path)
    assert trio.tables["word_embeddings"].source == "difference"
    assert "is far from the stored word_embeddings" in caplog.text
    torch.testing.assert_close(
        trio.tables["word_embeddings"].discriminator, discriminator[table_key("word_embeddings")]
    )


def test_delta_alone_needs_a_generator(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    only_delta = {name: t for name, t in discriminator.items() if name not in map(table_key, TABLES)}
    write_official(tmp_path / "alone", only_delta, None)
    with pytest.raises(UserError, match="holds only the difference"):
        open_trio(tmp_path / "alone")
    write_official(tmp_path / "both", only_delta, generator)
    shared = open_trio(tmp_path / "both").tables["word_embeddings"]
    word = "word_embeddings"
    assert torch.equal(shared.discriminator, generator[table_key(word)] + discriminator[delta_key(word)])


def test_generator_beside_the_checkpoint_in_safetensors(
    discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    of_another_run = network(models.DebertaV2ForMaskedLM, GENERATOR, 77)
    write_official(tmp_path, discriminator, of_another_run)
    save_file(generator, tmp_path / "generator.safetensors")
    trio = open_trio(tmp_path)
    assert_same(trio.generator or {}, generator)  # safetensors before .bin, as for the weights
    assert trio.tables["word_embeddings"].source == "stored"


def test_generator_from_a_folder_of_its_own(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    write_official(tmp_path / "d", without_delta(discriminator), None)
    (tmp_path / "g").mkdir()
    save_file(generator, tmp_path / "g" / "model.safetensors")
    (tmp_path / "g" / "config.json").write_text(json.dumps(GENERATOR))
    trio = open_trio(tmp_path / "d", generator=tmp_path / "g")
    assert trio.tables["word_embeddings"].source == "difference"
    assert_same(trio.generator or {}, generator)


@pytest.mark.parametrize("given", ["whole", "whole/pytorch_model.generator.bin", "whole/generator"])
def test_generator_out_of_the_folder_of_a_whole_checkpoint(
    given: str, discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    """The config.json beside such a generator is a discriminator's, with more layers."""
    write_official(tmp_path / "d", without_delta(discriminator), None)
    if given == "whole/generator":
        write_official(tmp_path / "both", discriminator, generator)
        save_trio(open_trio(tmp_path / "both"), tmp_path / "whole")
    else:
        write_official(tmp_path / "whole", discriminator, generator)
    trio = open_trio(tmp_path / "d", generator=tmp_path / given)
    assert (trio.generator_config or {})["num_hidden_layers"] == GENERATOR["num_hidden_layers"]
    assert_same(trio.generator or {}, generator)


def test_generator_of_another_width_is_refused(discriminator: dict, tmp_path: Path) -> None:
    wide = {**GENERATOR, "hidden_size": 96, "pooler_hidden_size": 96}
    write_official(tmp_path, discriminator, network(models.DebertaV2ForMaskedLM, wide, 1))
    with pytest.raises(UserError, match=r"config\.json says 99 words of 48 numbers"):
        open_trio(tmp_path)


def test_positions_of_another_shape_than_the_config_are_refused(
    discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    table, delta = table_key("position_embeddings"), delta_key("position_embeddings")
    other = {table: torch.ones(30, 48), delta: torch.ones(30, 48)}
    write_official(tmp_path, {**discriminator, **other}, {**generator, table: torch.ones(30, 48)})
    with pytest.raises(UserError, match=r"has shape \[30, 48\], and config.json makes it \[32, 48\]"):
        open_trio(tmp_path)


def test_states_fill_the_models_without_a_key_to_spare(
    discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    # The released V3 files carry a masked-LM head in the discriminator's file too.
    both_heads = {**discriminator, **{k: v for k, v in generator.items() if k.startswith("lm_predictions.")}}
    write_official(tmp_path, both_heads, generator)
    trio = open_trio(tmp_path)
    replaced = models.DebertaV2ForReplacedTokenDetection(transformers.DebertaV2Config(**DISCRIMINATOR))
    replaced.load_state_dict(trio.discriminator_state(), strict=True)
    masked = models.DebertaV2ForMaskedLM(transformers.DebertaV2Config(**GENERATOR))
    masked.load_state_dict(trio.generator_state(), strict=True)
    assert torch.equal(
        replaced.deberta.embeddings.word_embeddings.weight, trio.tables["word_embeddings"].discriminator
    )


def test_trained_networks_are_saved_in_the_official_form(
    discriminator: dict, generator: dict, tmp_path: Path
) -> None:
    deltas = {table: discriminator[delta_key(table)] for table in TABLES}
    bare = {k: v for k, v in discriminator.items() if k not in map(table_key, TABLES)}
    trio = trained_trio(
        config=DISCRIMINATOR,
        discriminator=without_delta(bare),
        generator=generator,
        generator_config=GENERATOR,
        deltas=deltas,
    )
    save_trio(trio, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == discriminator.keys()
    for table in TABLES:
        assert torch.equal(saved[delta_key(table)], deltas[table])
        assert torch.equal(saved[table_key(table)], generator[table_key(table)] + deltas[table])


def test_official_folder_opens_for_every_use(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    write_official(tmp_path / "official", discriminator, generator)
    save_trio(open_trio(tmp_path / "official"), tmp_path / "ours")
    for folder in (tmp_path / "official", tmp_path / "ours"):
        report = open_model(folder, head=models.DebertaV2ForReplacedTokenDetection).report
        assert report.fresh == () and len(report.stale) == 2
        opened = open_model(folder, head=models.DebertaV2ForSequenceClassification, new_head=True)
        assert all(name.startswith(("pooler.", "classifier.")) for name in opened.report.fresh)
    masked = open_model(tmp_path / "ours" / "generator", head=models.DebertaV2ForMaskedLM)
    assert masked.report.fresh == () and masked.model.uses_enhanced_mask_decoder


def test_transformers_opens_both_networks(discriminator: dict, generator: dict, tmp_path: Path) -> None:
    write_official(tmp_path / "official", discriminator, generator)
    save_trio(open_trio(tmp_path / "official"), tmp_path / "ours")
    encoder, info = transformers.DebertaV2Model.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(encoder.embeddings.word_embeddings.weight, discriminator[table_key("word_embeddings")])
    _, info = transformers.DebertaV2ForMaskedLM.from_pretrained(
        tmp_path / "ours" / "generator", output_loading_info=True
    )
    assert not info["missing_keys"]
