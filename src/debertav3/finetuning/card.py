"""The model card (``README.md``) of a trained model, in the Hub's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..heads import BY_NAME
from ..json_types import JsonMapping
from ..tasks.rows import first_of
from . import usage
from .calibration import in_words
from .score_verdict import EXPLANATION, baselines, metric_of, verdict

if TYPE_CHECKING:
    from ..tasks.example import Example
    from .preparation import Data


def model_card(report: JsonMapping, record: JsonMapping, data: "Data", *, architecture: JsonMapping) -> str:
    """Return the card.

    Args:
        report: the content of ``metrics.json``.
        record: the content of ``run.json``.
        data: names the task.
        architecture: the content of the model's ``config.json``.
    """
    from huggingface_hub import EvalResult, ModelCardData

    config, pipeline_tag = record["config"], BY_NAME[data.task.head].pipeline_tag
    assert pipeline_tag is not None  # every head that can be fine-tuned has one
    name, family = record["out"], architecture["model_type"]
    short = short_names(list(report["dev"]))
    results = [
        EvalResult(
            task_type=pipeline_tag,
            dataset_type=config["task"],
            dataset_name=short[source],
            dataset_split=short[source],  # results of one task and split are one entry on the Hub
            metric_type=metric,
            metric_value=round(scores[metric], 4),
        )
        for source, scores in report["dev"].items()
        for metric in scores["majority_baseline"]
    ]
    head = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline_tag,
        tags=[*_family_tags(architecture), config["task"]],
        model_name=name,
        eval_results=results or None,
        base_model=config["model"]
        if config["model"].count("/") == 1 and not Path(config["model"]).exists()
        else None,
    )
    labels = (
        f"\n\nLabels, in the order of the outputs: {first_of(record['labels'], most=200)}."
        if record["labels"]
        else ""
    )
    version = record["versions"]["debertav3"]
    sections = [
        f"---\n{head.to_yaml()}\n---",
        f"# {name}",
        f"`{config['model']}`, trained on task `{config['task']}` with debertav3 {version}.{labels}",
        "## Evaluation",
        _scores(report, record["labels"]),
        "## Training",
        f"```\n{record['command']}\n```",
        _data(record),
        "`run.json` has all settings, versions and checksums of the data; `metrics.json` all "
        "scores; `report.html` curves and errors.",
        usage.HEADING,
        *usage.how_to_use(report, record, data.task, examples=_examples(data), name=name, family=family),
    ]
    return "\n\n".join(sections) + "\n"


def _family_tags(architecture: JsonMapping) -> list[str]:
    """The family by its ``model_type``, and what else people look for; v2 alone has a convolution."""
    family = architecture["model_type"]
    if family != usage.OURS:
        return [family]
    is_v3 = not architecture.get("conv_kernel_size")
    return [family, *(["deberta-v3"] if is_v3 else []), "debertav3"]


def _examples(data: "Data") -> Sequence["Example"]:
    """Rows to quote from: of the first dev set, else of the training data."""
    return next(iter(data.dev.values()), data.train)


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """Name each source by the end of its path, with as many folders as tell it from the others."""
    parts = {source: Path(source).parts for source in sources}
    names = {}
    for source, own in parts.items():
        others = [other for name, other in parts.items() if name != source]
        lengths = range(1, len(own))
        enough = (n for n in lengths if all(other[-n:] != own[-n:] for other in others))
        names[source] = "/".join(own[-next(enough, len(own)) :])
    return names


def _scores(report: JsonMapping, labels: Sequence[str]) -> str:
    if not report["dev"]:
        return "It was not evaluated: no dev file was given."
    short = short_names(list(report["dev"]))
    names = list(dict.fromkeys(name for scores in report["dev"].values() for name in baselines(scores)))
    lines = [
        f"| {' | '.join(['dev set', 'examples', 'score', 'this model', *names])} |",
        f"|---|---:|---|---:|{'---:|' * len(names)}",
    ]
    for source, scores in report["dev"].items():
        others = baselines(scores)
        for metric in scores["majority_baseline"]:
            values = [others.get(name, {}).get(metric) for name in names]
            row = [short[source], scores["examples"], metric, f"{scores[metric]:.4f}"]
            row += ["" if value is None else f"{value:.4f}" for value in values]
            lines.append(f"| {' | '.join(map(str, row))} |")
    lines.append(f"\n{EXPLANATION}")
    for source, scores in report["dev"].items():
        if sentence := in_words(scores.get("probabilities", {})):
            lines.append(f"\n{short[source]}: {sentence}")
    for source, scores in report["dev"].items():
        line, is_well = verdict(short[source], scores, metric_of(report), labels)
        if not is_well:
            lines.append(f"\n**{line}.**")
    return "\n".join(lines)


def _data(record: JsonMapping) -> str:
    short = short_names(list(record["data"]))
    lines = ["| data | rows |", "|---|---:|"]
    lines += [f"| {short[path]} | {facts['rows']} |" for path, facts in record["data"].items()]
    return "\n".join(lines)
