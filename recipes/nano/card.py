"""The model's card, from what `evaluate.py` has measured and the hours of the stages.

Run: python recipes/nano/card.py --evaluations evaluation-1.json evaluation-2.json --runs runs/nano \
         --model nano
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from make import HERE, RECORD, Recipe
from pairs import CARD_HYPOTHESIS, CARD_PREMISE

from debertav3.files import read_json_object, write_text
from debertav3.inference.task_steps import TEMPLATE
from debertav3.sizes import count_parameters

PAGE = Path(__file__).with_name("card.md")
SHOWN = ("MultiNLI matched", "SNLI, held out by premise", "counterfactual SNLI")
"""Sets of the table of groups."""


def stage_hours(runs: Path) -> dict[str, float]:
    """Hours of each stage that has begun, in the recipe's order."""
    records = [runs / stage.name / RECORD for stage in Recipe.read(HERE / "stages.yaml").stages]
    return {
        path.parent.name: sum(read_json_object(path)["seconds"]) / 3600 for path in records if path.is_file()
    }


def render(evaluations: Sequence[Mapping[str, Any]], hours: Mapping[str, float], model: Path) -> str:
    """The page; the first evaluation is that of the model that ships."""
    first = evaluations[0]

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    def seeds(kind: str, name: str) -> str:
        found = [one[kind][name]["accuracy"] for one in evaluations]
        return ", ".join(map(percent, found)) + f" (± {100 * (max(found) - min(found)) / 2:.1f})"

    def in_group(name: str, group: str) -> str:
        row = first["nli"][name]["groups"].get(group)
        return f"{percent(row['accuracy'])} ({row['pairs']:,})" if row else ""

    kinds = ("length", "negation", "negated", "overlap")
    groups = {group for name in SHOWN for group in first["nli"][name]["groups"] if group.startswith(kinds)}
    example = ", ".join(f"{name} {100 * share:.0f} %" for name, share in first["example"].items())
    page = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(
        PAGE.read_text(encoding="utf-8")
    )
    return page.render(
        nli=first["nli"],
        zero_shot=first["zero_shot"],
        groups=sorted(groups),
        shown=SHOWN,
        example=example,
        premise=CARD_PREMISE,
        hypothesis=CARD_HYPOTHESIS,
        template=TEMPLATE,
        stages=hours,
        hours=f"{sum(hours.values()):.1f}",
        shape=shape(model),
        megabytes=round((model / "model.safetensors").stat().st_size / 1e6, 1),
        percent=percent,
        seeds=seeds,
        in_group=in_group,
    )


def shape(model: Path) -> str:
    """A sentence on the model's size."""
    config = read_json_object(model / "config.json")
    counts = count_parameters(config)
    return (
        f"{config['num_hidden_layers']} layers, width {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads, its own vocabulary of {config['vocab_size']:,} rows: "
        f"{counts.backbone / 1e6:.1f} million parameters in the encoder, "
        f"{counts.word_embeddings / 1e6:.1f} million in the word embeddings,"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the stages")
    parser.add_argument("--model", type=Path, required=True, help="folder that gets README.md")
    arguments = parser.parse_args()
    evaluations = [read_json_object(path) for path in arguments.evaluations]
    write_text(
        arguments.model / "README.md", render(evaluations, stage_hours(arguments.runs), arguments.model)
    )


if __name__ == "__main__":
    main()
