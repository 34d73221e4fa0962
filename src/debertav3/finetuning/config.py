"""The settings of a fine-tuning run, in groups. How they are read is in :mod:`debertav3.runs.settings`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..runs.settings import Settings
from ..runs.values import Count, CountOrZero, NotNegative, Positive, Range, Share, Short

LabelKind = Literal["auto", "one-label", "several-labels", "number", "tags", "ranking"]
Schedule = Literal["linear", "cosine", "constant_with_warmup"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """What is read, and what of it the model sees."""

    HEADING: ClassVar[str] = "data"

    train: tuple[str, ...] = ()
    """Training files, folders or datasets:NAME."""
    dev: tuple[str, ...] = ()
    """Dev files; the first one selects the best checkpoint."""
    dev_split: Annotated[float, Range(above=0, below=1)] | None = None
    """Hold out this share of the training data as dev set, every label with its share."""
    folds: Annotated[int, Range(min=2)] | None = None
    """Cross-validation: parts of the training data, each of which is held out once."""
    fold: Count | None = None
    """The part that this run holds out, from 1; set by --folds."""
    group_column: str | None = None
    """Of dev_split and folds: rows with the same value in this column stay together."""
    train_limit: Annotated[int, Range(min=2)] | None = None
    """Train on so many examples, drawn by seed; balanced if rows have one label, else at random."""
    max_length: Annotated[int, Range(min=8)] = 256
    """Tokens of one example, special tokens included; longer ones are truncated."""
    window_overlap: CountOrZero = 128
    """Tokens that neighbouring windows of a long context share (question answering)."""
    length_grouping: bool = True
    """Put examples of similar length into one batch."""
    check_data: bool = True
    """Run the data check before training."""
    text_column: str | None = None
    """The column of the text, or the first of two, by name or number; none: as the task or the data say."""
    pair_column: str | None = None
    """The column of a second text."""
    label_column: str | None = None
    """The column of the labels, or several with commas between; none: as the task or the data say."""
    choice_columns: tuple[str, ...] = ()
    """Multiple choice: a column for each choice, or one that holds them all; none: as the data look."""
    label_kind: LabelKind = "auto"
    """Task custom: what a label is; auto: as the data look."""
    labels: str | None = None
    """A YAML file with lines 'label in the data: label of the task'."""
    format: str | None = None
    """Of the files, where their ending says none or the wrong one: csv, tsv, jsonl, json, conll, ..."""
    encoding: str | None = None
    """Of files of text; none: UTF-8, or the likeliest."""
    header: bool | None = None
    """Whether the first line of a table has the names of its columns; none: as it looks."""
    sheet: str | None = None
    """Of a workbook, by name or number; none: the first."""
    records: str | None = None
    """Of a JSON file with several lists of rows: the name of one, or several with commas between."""
    dev_records: str | None = None
    """Likewise of the dev files, where they hold them under another name."""
    skip_bad: bool = False
    """Leave out rows that cannot be read, and list them, in place of stopping at the first."""
    word_column: str | None = None
    """Words with tags: the column of the words, a number from 1; none: as the data look."""
    tag_column: str | None = None
    """Words with tags: the column of the tags, a number from 1; none: as the data look."""
    tag_names: tuple[str, ...] = ()
    """Words with tags: the names of tags that the data have as numbers from 0, such as O, B-PER, I-PER."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """AdamW and the learning rate over time."""

    HEADING: ClassVar[str] = "optimizer and learning rate"

    learning_rate: Positive = 2e-5
    """Highest learning rate."""
    schedule: Schedule = "linear"
    """What the learning rate does after the warm-up."""
    warmup_steps: NotNegative = 0.1
    """Optimiser steps of linear warm-up; below 1 a share of all steps."""
    layer_decay: Annotated[float, Range(above=0, max=1)] = 1.0
    """Factor of the learning rate from each layer to the one below it; 1 for none."""
    weight_decay: NotNegative = 0.01
    """Not for biases and LayerNorms."""
    adam_beta1: Share = 0.9
    """Decay of the first moment."""
    adam_beta2: Share = 0.999
    """Decay of the second moment."""
    adam_epsilon: Positive = 1e-6  # arXiv:2006.03654 table 9; torch's own default is 1e-8
    """Added to the denominator of the update."""
    max_grad_norm: Positive = 1.0
    """Global norm at which gradients are clipped."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Settings):
    """How long and how training runs."""

    HEADING: ClassVar[str] = "steps and batches"

    epochs: Positive = 3.0
    """Passes over the training data."""
    max_steps: Count | None = None
    """Optimiser steps; takes precedence over epochs."""
    batch_size: Count = 32
    """Examples per optimiser step, over all devices and accumulated micro-batches."""
    micro_batch_size: Count | None = None
    """Examples per device and forward pass; none: the device's whole share of batch_size."""
    early_stopping_patience: Count | None = None
    """Evaluations without improvement before the run stops."""
    precision: Precision = "auto"
    """Autocast to bf16 or fp16, or fp32; auto: bf16 where CUDA has it, else fp32."""
    gradient_checkpointing: bool = False
    """About a third more computation for much less memory."""
    log_every_steps: Count = 20
    """Optimiser steps between two log lines."""
    report_to: tuple[str, ...] = ()
    """Trackers by transformers' names, such as tensorboard, trackio, wandb."""


@dataclass(frozen=True, kw_only=True)
class RegularizationConfig(Settings):
    """What keeps the model from learning the training data by heart, and the loss from favouring a label."""

    HEADING: ClassVar[str] = "regularization"

    label_smoothing: Share = 0.0
    """Share of the target that is spread over all labels."""
    balance_classes: bool = False
    """Weight examples so that all labels count equally; for several labels, yes and no of each."""
    classifier_dropout: Share | None = None
    """Dropout before the classifier; here and in the next two none: as the model's config says."""
    hidden_dropout: Share | None = None
    """Dropout of hidden states."""
    attention_dropout: Share | None = None
    """Dropout of attention probabilities."""
    initializer_range: Positive | None = None
    """Standard deviation of new weights, for a model from scratch; none: as its size says."""
    freeze_embeddings: bool = False
    """Do not train the embeddings."""
    freeze_layers: CountOrZero = 0
    """Do not train this many layers, counted from the bottom."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig(Settings):
    """Low-rank adaptation (arXiv:2106.09685). True where it is on."""

    HEADING: ClassVar[str] = "LoRA"

    enabled: Annotated[bool, Short("lora")] = False
    """Train low-rank changes only (package peft); the saved model has them merged in."""
    rank: Annotated[int, Range(min=1), Short("lora_rank")] = 8
    """Rank of the changes."""
    dropout: Annotated[float, Range(min=0, below=1), Short("lora_dropout")] = 0.0
    """Dropout before the changes."""

    def __bool__(self) -> bool:
        return self.enabled


@dataclass(frozen=True, kw_only=True)
class SiftConfig(Settings):
    """SiFT, adversarial training on normalised embeddings (``finetuning/sift.py``). True where it is on."""

    HEADING: ClassVar[str] = "SiFT"

    enabled: Annotated[bool, Short("sift")] = False
    """Also train against small changes of the embeddings."""
    weight: Annotated[float, Range(above=0), Short("sift_weight")] = 5.0
    """Factor of the regulariser in the loss."""
    step_size: Annotated[float, Range(above=0), Short("sift_step_size")] = 1e-4
    """Length of the ascent step, in the largest coordinate of each token."""
    initial_size: Annotated[float, Range(above=0), Short("sift_initial_size")] = 1e-2
    """Standard deviation of the first change."""

    def __bool__(self) -> bool:
        return self.enabled


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Settings):
    """When the model is scored on the dev set."""

    HEADING: ClassVar[str] = "evaluation"

    eval_batch_size: Count = 64
    """Examples per device and forward pass."""
    eval_every_steps: Count | None = None
    """Optimiser steps between two evaluations; none: after every epoch."""
    keep_best: bool = True
    """End with the weights of the best evaluation rather than the last."""
    calibrate: bool = True
    """Fit a temperature, and a threshold for each of several labels, on the first dev set."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Settings):
    """What is kept to resume from."""

    HEADING: ClassVar[str] = "checkpoints"

    save_every_steps: Count | None = None
    """Optimiser steps between two checkpoints, in addition to those after each evaluation."""
    keep_checkpoints: bool = False
    """Keep the folder checkpoints (with optimiser state) after the run has finished."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Settings):
    """Everything that decides the numbers of a run; defaults are the middle of the papers' search grids."""

    HEADING: ClassVar[str] = "run"

    task: str
    """Name of the task."""
    model: str
    """A size by name (from scratch), a local folder or a Hub name."""
    tokenizer: str | None = None
    """Folder or Hub name; none: the model's own."""
    seed: Annotated[int, Range(min=0, below=2**32)] = 1  # what numpy takes
    """Of new weights, order and dropout."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    lora: LoraConfig = LoraConfig()
    sift: SiftConfig = SiftConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
