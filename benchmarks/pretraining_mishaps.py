"""What a failing pre-training looks like: runs that fail on purpose, compared with healthy ones.

Every run has two layers of width 64, windows of 32 tokens, 1,000 pieces and one seed, and reads dialogues.
A run differs from its healthy counterpart in one setting, one corpus, one tokenizer or its starting point.
Finished runs are kept as NAME.json, and stopped ones resume. The page is written only if the healthy runs are
healthy by their own verdict.

Run: python benchmarks/pretraining_mishaps.py --data ../shared/data --out runs/mishaps \
         [--json benchmarks/results/DATE-pretraining-mishaps.json] [--page docs/pretraining.md]
All runs are 20 x 1,500 steps of about 10 to 40 ms each: roughly a quarter of an hour on an idle core.
"""

import argparse
import json
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from debertav3 import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection, DebertaV3Tokenizer
from debertav3.checkpoint import save_model
from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare
from debertav3.errors import DivergedError
from debertav3.pretrain.run import pretrain
from debertav3.pretrain.settings import recipe
from debertav3.pretrain.verdict import judge
from debertav3.runs.record import read_record
from debertav3.sizes import config_for
from debertav3.tokenization.text_files import read_texts
from debertav3.tokenization.unigram_training import VocabularyConfig, train_vocabulary
from marked_pages import put_into
from mishap_rows import MISHAPS, RUNS, Mishap, Run

BEGIN, END = "<!-- table of benchmarks/pretraining_mishaps.py -->", "<!-- end of the mishaps -->"
PIECES = 1000
SHAPE = {
    "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 256,
    "pooler_hidden_size": 64, "max_position_embeddings": 32, "position_buckets": 16,
}  # fmt: skip
CORPORA = {
    "dialogues": "corpus/dialogue-sgd.jsonl.gz",
    "books": "corpus/children-stories.jsonl.gz",
    "german": "lang-de/corpus_de.jsonl.gz",
}
FEW = 8
"""Documents of the corpus that is too small."""


class Workshop:
    """A folder with tokenizers, shards, starting weights and runs, each made when it is first needed.

    Args:
        data: folder of the public data.
        out: where everything is kept.
        steps: of every run.
    """

    def __init__(self, data: Path, out: Path, *, steps: int) -> None:
        self.data, self.out, self.steps = data, out, steps

    def tokenizer(self, corpus: str) -> Path:
        """A vocabulary of a corpus."""
        folder = self.out / "tokenizers" / corpus
        if not folder.exists():
            texts = read_texts(self.data / CORPORA[corpus], columns=("text",))
            train_vocabulary(texts, folder, VocabularyConfig(vocab_size=PIECES, num_threads=1))
        return folder

    def shards(self, name: str) -> Path:
        """Token ids: of a corpus, of a few documents of the dialogues, or with the German vocabulary."""
        folder = self.out / "shards" / name
        if (folder / "index.json").is_file():
            return folder
        source = self.data / CORPORA.get(name, CORPORA["dialogues"])
        if name == "few":
            texts = list(read_texts(source, columns=("text",)))
            source = self.out / "few.jsonl"
            documents = [one.replace("\n", " ") for one in texts[:FEW]]
            source.write_text("\n".join(json.dumps({"text": one}) for one in documents) + "\n")
        vocabulary = self.tokenizer("german" if name == "misfit" else "dialogues")
        share = 0.02 if name in ("dialogues", "misfit") else 0.0
        config = PrepareConfig(inputs=(str(source),), tokenizer=str(vocabulary), heldout_share=share)
        prepare(config, folder, ExecutorConfig())
        return folder

    def start(self, name: str, shards: Path) -> Path:
        """Random weights of the small shape, or the encoder of a run."""
        if name in RUNS:
            self.run(RUNS[name])
            return self.out / "runs" / name / "encoder"
        folder = self.out / "starts" / f"{name}-{shards.name}"
        if folder.exists():
            return folder
        if name == "strong":
            generator = self.start("mlm", shards).with_name("generator")
            shutil.copytree(generator, folder / "generator")
            shutil.copytree(self.start("rtd-weights", shards), folder / "discriminator")
        else:
            tokenizer = DebertaV3Tokenizer.from_pretrained(shards / "tokenizer")
            torch.manual_seed(0)
            network = DebertaV2ForMaskedLM if name == "mlm-weights" else DebertaV2ForReplacedTokenDetection
            rows = (len(tokenizer) + 63) // 64 * 64
            folder.parent.mkdir(parents=True, exist_ok=True)
            save_model(network(config_for("nano", vocab_size=rows, **SHAPE)), folder, tokenizer)
        return folder

    def run(self, run: Run) -> dict[str, object]:
        """Train unless it is finished; return its figures."""
        if found := self.finished(run.name):
            return found
        shards = self.shards(run.data)
        start = self.start(run.start, shards)
        config = recipe("nano").with_overrides([*run.settings, *self._phases(run), f"max_steps={self.steps}"])
        out, began, error = self.out / "runs" / run.name, time.process_time(), ""
        try:
            if not pretrain(config, shards, out, resume=True, start=start):
                raise SystemExit(f"stopped in {run.name}; run the same command to continue")
        except DivergedError as diverged:
            error = str(diverged)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        verdict = error or str(judge(rows, read_record(out)))
        content: dict[str, object] = {"run": run.name, "settings": run.settings}
        content |= {"verdict": verdict, "log": rows}
        content["cpu_seconds"] = round(time.process_time() - began, 1)
        record = self.out / f"{run.name}.json"
        record.write_text(json.dumps(content) + "\n", encoding="utf-8")
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        print(time.strftime("%H:%M:%S"), run.name, content["cpu_seconds"], verdict, flush=True)
        return content

    def finished(self, name: str) -> dict[str, object] | None:
        """The figures of a run, if it is finished."""
        record = self.out / f"{name}.json"
        return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None

    def _phases(self, run: Run) -> list[str]:
        """The phases of a run as a setting; validation reads the dialogues whatever they are."""
        if not run.phases:
            return []
        phases: list[dict[str, object]] = []
        for corpus, share in run.phases:
            phases.append({"data": [str(self.shards(corpus))], "steps": round(share * self.steps)})
        del phases[-1]["steps"]
        return [f"phases={json.dumps(phases)}"]


def figure(record: dict[str, object], name: str) -> float | None:
    """A figure at the end of a run, or ``lowest NAME``; None if it was not a number."""
    log = record["log"]
    assert isinstance(log, list)
    wanted = name.removeprefix("lowest ")
    values = [row[wanted] for row in log if wanted in row]
    if not values or values[-1] is None:
        return None
    return float(min(value for value in values if value is not None) if wanted != name else values[-1])


def _shown(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.3g}" if abs(value) < 1e4 else f"{value:.1e}"


def table(mishaps: Sequence[Mishap], workshop: Workshop) -> list[str]:
    """Lines of Markdown, with the figures of what is finished."""
    pairs = [(one, [workshop.finished(name) for name in (one.run, one.healthy)]) for one in mishaps]
    has_figures = any(all(records) for _, records in pairs)
    columns, rule = (" this run | healthy run |", "---:|---:|") if has_figures else ("", "")
    lines = [f"| problem | metric |{columns} what it means, and what to change |", f"|---|---|{rule}---|"]
    for one, records in pairs:
        names = "<br>".join(f"`{name}`" if " " not in name else _lowest(name) for name in one.figures)
        cells = [
            "" if record is None else "<br>".join(_shown(figure(record, name)) for name in one.figures)
            for record in records
        ]
        figures = f" {' | '.join(cells)} |" if has_figures else ""
        lines.append(f"| {one.what} | {names} |{figures} {one.advice} |")
    return lines


def not_healthy(mishaps: Sequence[Mishap], workshop: Workshop) -> list[str]:
    """What the healthy runs say of themselves that are not."""
    names = dict.fromkeys(one.healthy for one in mishaps)
    verdicts = {
        name: str((workshop.finished(name) or {}).get("verdict", "It did not run.")) for name in names
    }
    return [f"{name}: {said}" for name, said in verdicts.items() if not said.startswith("The run went well.")]


def _lowest(name: str) -> str:
    return f"lowest `{name.removeprefix('lowest ')}`"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, default=Path("runs/mishaps"))
    parser.add_argument("--steps", type=int, default=1500, help="of every run, of 2,048 tokens")
    parser.add_argument("--only", nargs="*", default=[], help="names of mishaps")
    parser.add_argument("--json", type=Path, help="file for the figures and logs")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the table")
    parser.add_argument("--dry-run", action="store_true", help="write what is there, train nothing")
    arguments = parser.parse_args()
    mishaps = [one for one in MISHAPS if not arguments.only or one.run in arguments.only]
    if not mishaps:
        raise SystemExit(f"--only: no such mishap. There are: {', '.join(one.run for one in MISHAPS)}")
    torch.set_num_threads(1)
    workshop = Workshop(arguments.data, arguments.out, steps=arguments.steps)
    wanted = {name for one in mishaps for name in (one.run, one.healthy)}
    if not arguments.dry_run:
        for name in (name for name in RUNS if name in wanted):
            workshop.run(RUNS[name])
    lines = table(mishaps, workshop)
    print("\n".join(lines))
    sick = [] if arguments.dry_run else not_healthy(mishaps, workshop)
    if sick:
        print("\n".join(("Healthy runs that are not healthy; remove --out and raise --steps:", *sick)))
    if arguments.json:
        runs = [found for name in RUNS if name in wanted and (found := workshop.finished(name))]
        content = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
        arguments.json.write_text(json.dumps(content | {"runs": runs}, indent=1) + "\n", encoding="utf-8")
    if arguments.page and not sick:
        put_into(arguments.page, lines, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
