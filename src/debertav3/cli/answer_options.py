"""Options of the commands that answer: the model and how it is run, what each task takes, columns."""

from typing import Annotated

from .commands import Argument, Option

TaskName = Annotated[
    str,
    Argument(
        help="nli, classify, zero-shot, rerank, ner, qa, fill-mask, rtd or choice; names of training (sst2, "
        "custom, squad2, ...) are taken for what answers them.",
        metavar="TASK",
    ),
]
ModelName = Annotated[str, Option(help="Checkpoint folder or Hub name.")]
HeadLabels = Annotated[
    str | None,
    Option(
        "--labels",
        help="What the head's outputs mean, in their order, for checkpoints that do not say: "
        "entailment,neutral,contradiction. For zero-shot: the labels to choose from, where rows bring none. "
        "Or a YAML file with lines 'label in the rows: label of the model'.",
    ),
]
Device = Annotated[str, Option(help="auto, cuda, cuda:1, npu, xpu, mps or cpu.")]
Dtype = Annotated[str, Option(help="fp32, bf16 or fp16.")]
BackendName = Annotated[
    str,
    Option(
        help="auto (fastest for many inputs), light (soonest first answer), native (no torch), torch, "
        "openvino or onnx; the last two run what debertav3 export has written."
    ),
]
Calibration = Annotated[
    bool,
    Option(
        "--calibration/--no-calibration",
        help="Use the temperature and thresholds that fine-tuning fitted; off, the raw probabilities.",
    ),
]
BatchTokens = Annotated[
    int | None,
    Option(
        "--tokens-per-batch",
        "--batch-tokens",
        help="Most tokens of a batch, padding included; measured once for big inputs.",
        show_default="by device",
        min=1,
    ),
]
MaxLength = Annotated[
    int | None, Option(help="Most tokens of one input.", show_default="the checkpoint's", min=8)
]
NLILabels = Annotated[
    str | None,
    Option(help="zero-shot, rerank: what the outputs of the NLI head mean, as --labels of nli."),
]
Template = Annotated[str, Option(help="zero-shot: the hypothesis, with {} for the label.", show_default=True)]
MultiLabel = Annotated[bool, Option("--multi-label", help="zero-shot: several labels may hold.")]
Aggregation = Annotated[str, Option(help="ner: first, average, max or simple.")]
TopK = Annotated[int, Option(help="fill-mask: candidates for each mask.", min=1)]
NBest = Annotated[int, Option(help="qa: candidates for each question.", min=1)]
NullThreshold = Annotated[
    str, Option(help='qa: logits by which "no answer" must lead to win; none always answers.')
]
Format = Annotated[
    str | None,
    Option(
        "--format",
        help="jsonl, json, csv, parquet, xlsx or, to read, tsv, conll, fasttext and xml, "
        "where the ending does not say.",
        show_default="jsonl",
    ),
]
AsTool = Annotated[
    str | None,
    Option(
        "--as",
        help="ner: write pre-annotations that a tool imports: label-studio, doccano, prodigy, brat, conll.",
        show_default="rows with their answers",
    ),
]
TextColumn = Annotated[
    str | None,
    Option(
        "--text-column",
        help="Column of the text, or of the first of two.",
        show_default="as the model was trained, or the usual names",
    ),
]
PairColumn = Annotated[
    str | None, Option("--pair-column", help="Column of the second text.", show_default="likewise")
]
LabelColumn = Annotated[
    str | None, Option("--label-column", help="Column with the gold labels.", show_default="likewise")
]
WordColumn = Annotated[
    str | None,
    Option(
        "--word-column",
        help="ner: number of the column of the words in CoNLL, from 1.",
        show_default="found",
    ),
]
TagColumn = Annotated[
    str | None,
    Option("--tag-column", help="ner: likewise of the gold tags.", show_default="found"),
]
TagNames = Annotated[
    str | None,
    Option("--tag-names", help="ner: names of gold tags that are numbers, such as O,B-PER,I-PER."),
]
