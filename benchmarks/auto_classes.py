"""How much faster do stock programs run after ``register_auto_classes()``? V3 xsmall shape, random weights.

Each program is opened twice in one process from one folder, once as it is and once inside the registration;
both answer the same texts in alternating rounds, tokenizing included. GLiNER is measured where it is there:
0.2.29 asks for transformers < 5.17, but runs with newer ones after ``pip install --no-deps gliner``.

Run: python benchmarks/auto_classes.py --data DATA --threads 2
"""

import argparse
import importlib.util
import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import sentence_transformers
import torch
import transformers

import debertav3
from debertav3.sizes import config_for
from debertav3.tasks.tables import read_table
from side_by_side import alternate, print_json, ratio

LABELS = ["person", "place", "organization", "date"]


class Program(NamedTuple):
    """A stock program with its model."""

    model: torch.nn.Module
    answer: Callable[[], list[list[float]]]


def pipeline(folder: Path, pairs: list[tuple[str, str]]) -> Program:
    """A stock text classification pipeline, eight texts a batch."""
    pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    inputs = [{"text": first, "text_pair": second} for first, second in pairs]

    def answer() -> list[list[float]]:
        found: list[list[dict[str, Any]]] = pipe(inputs, top_k=None, batch_size=8)  # type: ignore[assignment]
        return [[entry["score"] for entry in sorted(one, key=lambda entry: entry["label"])] for one in found]

    return Program(pipe.model, answer)


def cross_encoder(folder: Path, pairs: list[tuple[str, str]]) -> Program:
    """Sentence-transformers' CrossEncoder with its default batches of 32."""
    encoder = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    return Program(encoder, lambda: encoder.predict(pairs, show_progress_bar=False).tolist())


def gliner(folder: Path, pairs: list[tuple[str, str]]) -> Program:
    """GLiNER over the premises, eight texts a batch."""
    from gliner import GLiNER

    own = folder / "gliner"
    if not own.exists():
        torch.manual_seed(0)
        settings = {"model_name": str(folder), "hidden_size": 384, "span_mode": "markerV0"}
        GLiNER.from_config(settings, local_files_only=True).save_pretrained(own)
    model = GLiNER.from_pretrained(str(own), local_files_only=True)
    texts = [first for first, _ in pairs]

    def answer() -> list[list[float]]:
        found = model.inference(texts, LABELS, threshold=0.5, batch_size=8)
        return [[entity["start"] + entity["end"] + entity["score"] for entity in one] for one in found]

    return Program(model.model, answer)


PROGRAMS = {"pipeline": pipeline, "CrossEncoder": cross_encoder, "GLiNER": gliner}


def save_model(tokenizer_folder: Path, folder: Path) -> None:
    torch.manual_seed(0)
    labels = {0: "entailment", 1: "neutral", 2: "contradiction"}
    numbers = {name: number for number, name in labels.items()}
    config = config_for("xsmall", id2label=labels, label2id=numbers, initializer_range=0.05)
    debertav3.DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    debertav3.DebertaV3Tokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)


def has_our_encoder(program: Program) -> bool:
    return any(isinstance(module, debertav3.DebertaV2Model) for module in program.model.modules())


def largest_difference(first: list[list[float]], second: list[list[float]]) -> float:
    if [len(one) for one in first] != [len(one) for one in second]:
        raise SystemExit("answers differ in number: a faster wrong answer is no answer")
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    return max((abs(one - other) for one, other in pairs), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with nli/ and deberta-v3-tokenizer/")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    rows = read_table(arguments.data / "nli" / "mnli_matched_dev.jsonl.gz")
    chosen = itertools.islice(rows, arguments.pairs)
    pairs = [(row.fields["premise"], row.fields["hypothesis"]) for row in chosen]
    names = [name for name in PROGRAMS if name != "GLiNER" or importlib.util.find_spec("gliner")]
    results = []
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        folder = Path(temporary)
        save_model(arguments.data / "deberta-v3-tokenizer", folder)
        for name in names:
            stock = PROGRAMS[name](folder, pairs)
            with debertav3.register_auto_classes():
                ours = PROGRAMS[name](folder, pairs)
            if [has_our_encoder(one) for one in (stock, ours)] != [False, True]:
                raise SystemExit(f"{name} was not built as it should be")
            error = largest_difference(stock.answer(), ours.answer())
            contenders = {"stock": stock.answer, "ours": ours.answer}
            seconds = alternate(contenders, rounds=arguments.rounds, warmup=1)
            row = {
                "program": name,
                "stock_s": statistics.median(seconds["stock"]),
                "ours_s": statistics.median(seconds["ours"]),
                "times": ratio(seconds["stock"], seconds["ours"]),
                "max_error": error,
            }
            results.append(row)
            figures = f"{row['stock_s']:6.2f} s  {row['ours_s']:6.2f} s  {row['times']:5.2f} times"
            print(f"{name:14}{figures}  largest difference {error:.1e}", flush=True)
    print_json("auto_classes", transformers=transformers.__version__, pairs=arguments.pairs, rows=results)


if __name__ == "__main__":
    main()
