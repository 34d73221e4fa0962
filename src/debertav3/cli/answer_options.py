"""Options of the commands that answer: the model and how it runs, the columns, and what single tasks take."""

from typing import Annotated, Literal

from .commands import Argument, Option
from .options import COLUMNS, DATA, MODEL

TASK = "Options of one task"

TaskName = Annotated[
    str,
    Argument(
        help="nli, classify, zero-shot, rerank, ner, qa, fill-mask, rtd or choice; or a task name from "
        "training, such as sst2, custom or squad2.",
        metavar="TASK",
    ),
]
ModelName = Annotated[str, Option(help="Checkpoint folder or Hub name.", heading=MODEL)]
ModelNameOrNano = Annotated[
    str | None, Option(help="Checkpoint folder or Hub name.", show_default="the nano model", heading=MODEL)
]
HeadLabels = Annotated[
    str | None,
    Option(
        "--labels",
        help="Names of the model's outputs, in order, if its checkpoint has none: "
        "entailment,neutral,contradiction.",
        heading=MODEL,
    ),
]
LabelsOrMap = Annotated[
    str | None,
    Option(
        "--labels",
        help="Names of the model's outputs, in order, if its checkpoint has none: "
        "entailment,neutral,contradiction. For zero-shot: the candidate labels, if the rows have none. "
        "Or a YAML file with lines 'label in the rows: label of the model'.",
        heading=MODEL,
    ),
]
NLILabels = Annotated[
    str | None,
    Option(
        help="zero-shot, rerank: names of the NLI head's outputs, in order, if its checkpoint has none.",
        heading=MODEL,
    ),
]
BackendName = Annotated[
    Literal["auto", "light", "native", "torch", "openvino", "onnx"],
    Option(
        help="auto: fastest for many inputs; light: quickest first answer; native: numpy and our kernel, "
        "without torch; openvino, onnx: run what `debertav3 export` wrote.",
        heading=MODEL,
    ),
]
Calibration = Annotated[
    bool,
    Option(
        "--calibration/--no-calibration",
        help="Apply the temperature and thresholds that fine-tuning fitted, or give raw probabilities.",
        heading=MODEL,
    ),
]
Device = Annotated[str, Option(help="auto, cuda, cuda:1, npu, xpu, mps or cpu.", heading=MODEL)]
Dtype = Annotated[
    Literal["fp32", "bf16", "fp16"], Option(help="Precision of weights and activations.", heading=MODEL)
]
BatchTokens = Annotated[
    int | None,
    Option(
        "--tokens-per-batch",
        "--batch-tokens",
        help="Maximum tokens per batch, including padding; for large inputs the fastest value is measured.",
        show_default="by device",
        min=1,
        heading=MODEL,
    ),
]
MaxLength = Annotated[
    int | None,
    Option(help="Maximum tokens per input.", show_default="the checkpoint's", min=8, heading=MODEL),
]
Template = Annotated[str, Option(help="zero-shot: the hypothesis, with {} for the label.", heading=TASK)]
MultiLabel = Annotated[
    bool, Option("--multi-label", help="zero-shot: several labels may apply to a text.", heading=TASK)
]
Aggregation = Annotated[
    Literal["first", "average", "max", "simple"],
    Option(help="ner: how the scores of a word's tokens become one.", heading=TASK),
]
TopK = Annotated[int, Option(help="fill-mask: candidates per mask.", min=1, heading=TASK)]
NBest = Annotated[int, Option(help="qa: candidates per question.", min=1, heading=TASK)]
NullThreshold = Annotated[
    str,
    Option(
        help='qa: "no answer" wins if its logit is higher than the best answer\'s by more than this; none: '
        "always answer.",
        heading=TASK,
    ),
]
Format = Annotated[
    str | None,
    Option(
        "--format",
        help="jsonl, json, csv, parquet or xlsx, if the file extension does not say; for input also tsv, "
        "conll, fasttext or xml.",
        show_default="jsonl",
        heading=DATA,
    ),
]
AsTool = Annotated[
    str | None,
    Option(
        "--as",
        help="ner: write pre-annotations for label-studio, doccano, prodigy, brat or conll.",
        show_default="rows with answers",
        heading=DATA,
    ),
]
TextColumn = Annotated[
    str | None,
    Option(
        "--text-column",
        help="Column of the text, or of the first of two.",
        show_default="as in training, or a usual name",
        heading=COLUMNS,
    ),
]
PairColumn = Annotated[
    str | None,
    Option(
        "--pair-column",
        help="Column of the second text.",
        show_default="as in training, or a usual name",
        heading=COLUMNS,
    ),
]
LabelColumn = Annotated[
    str | None,
    Option(
        "--label-column",
        help="Column with the gold labels.",
        show_default="as in training, or a usual name",
        heading=COLUMNS,
    ),
]
WordColumn = Annotated[
    str | None,
    Option(
        "--word-column",
        help="ner: which column of a CoNLL file has the words, counted from 1.",
        show_default="detected",
        heading=COLUMNS,
    ),
]
TagColumn = Annotated[
    str | None,
    Option(
        "--tag-column",
        help="ner: which column of a CoNLL file has the gold tags, counted from 1.",
        show_default="detected",
        heading=COLUMNS,
    ),
]
TagNames = Annotated[
    str | None,
    Option(
        "--tag-names",
        help="ner: names of gold tags that are stored as numbers, in order: O,B-PER,I-PER.",
        heading=COLUMNS,
    ),
]
