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
    """What is read, and how much of it the model sees."""

    HEADING: ClassVar[str] = "data"

    train: tuple[str, ...] = ()
    """Training data: files, folders or datasets:NAME."""
    dev: tuple[str, ...] = ()
    """Dev data; the first selects the best checkpoint."""
    dev_split: Annotated[float, Range(above=0, below=1)] | None = None
    """Hold out this share of the training rows as dev set, with the same label distribution."""
    folds: Annotated[int, Range(min=2)] | None = None
    """Cross-validation: number of parts of the training data; each is held out once."""
    fold: Count | None = None
    """The part that this run holds out, from 1; set by --folds."""
    group_column: str | None = None
    """For dev_split and folds: keep rows with the same value in this column together."""
    train_limit: Annotated[int, Range(min=2)] | None = None
    """Train on a random sample of this many examples, balanced over labels if rows have one label each."""
    max_length: Annotated[int, Range(min=8)] = 256
    """Tokens in one example, special tokens included; longer ones are truncated."""
    window_overlap: CountOrZero = 128
    """Tokens that neighbouring windows of a long context share (question answering)."""
    length_grouping: bool = True
    """Put examples of similar length into one batch."""
    check_data: bool = True
    """Run the data check before training."""
    text_column: str | None = None
    """Column of the text, or of the first of two, by name or number; none: the task's, or detected."""
    pair_column: str | None = None
    """Column of the second text."""
    label_column: str | None = None
    """Column of the labels, or several, separated by commas; none: the task's, or detected."""
    choice_columns: tuple[str, ...] = ()
    """Multiple choice: a column per choice, or one that holds them all; none: detected."""
    label_kind: LabelKind = "auto"
    """Task custom: what a label is; auto: detected."""
    labels: str | None = None
    """YAML file with lines 'label in the data: label of the task'."""
    format: str | None = None
    """Format of the files, if the file extension does not say: csv, tsv, jsonl, json, conll, ..."""
    encoding: str | None = None
    """Encoding of text files; none: UTF-8, else detected."""
    header: bool | None = None
    """Whether the first line of a table has the column names; none: detected."""
    sheet: str | None = None
    """Sheet of a workbook, by name or number; none: the first."""
    records: str | None = None
    """Which list of a JSON file to read, by name, or several, separated by commas."""
    dev_records: str | None = None
    """Which list of the JSON dev files to read; none: as records."""
    skip_bad: bool = False
    """Skip rows that cannot be read, and list them, instead of stopping at the first."""
    word_column: str | None = None
    """Tagged words: which column has the words, counted from 1; none: detected."""
    tag_column: str | None = None
    """Tagged words: which column has the tags, counted from 1; none: detected."""
    tag_names: tuple[str, ...] = ()
    """Tagged words: names of tags that are stored as numbers, in order, such as O, B-PER, I-PER."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """The optimizer, and the learning rate over time."""

    HEADING: ClassVar[str] = "optimizer and learning rate"

    kind: Annotated[Literal["adamw", "muon"], Short("optimizer")] = "adamw"
    """AdamW; or, for encoders pre-trained with it, Muon for the layers' matrices and AdamW for the rest."""
    learning_rate: Positive = 2e-5
    """Peak learning rate."""
    schedule: Schedule = "linear"
    """How the learning rate changes after the warm-up."""
    warmup_steps: NotNegative = 0.1
    """Optimizer steps of linear warm-up; below 1: a share of all steps."""
    layer_decay: Annotated[float, Range(above=0, max=1)] = 1.0
    """Factor by which the learning rate falls from each layer to the one below; 1: no decay."""
    weight_decay: NotNegative = 0.01
    """Weight decay, except for biases and LayerNorms."""
    adam_beta1: Share = 0.9
    """Decay of the first moment."""
    adam_beta2: Share = 0.999
    """Decay of the second moment."""
    adam_epsilon: Positive = 1e-6  # arXiv:2006.03654 table 9; torch's own default is 1e-8
    """Added to the denominator of the update."""
    muon_momentum: Share = 0.95
    """Momentum of Muon, whose learning rate and weight decay are those of AdamW."""
    max_grad_norm: Positive = 1.0
    """Global norm at which gradients are clipped."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Settings):
    """How long and how training runs."""

    HEADING: ClassVar[str] = "steps and batches"

    epochs: Positive = 3.0
    """Passes over the training data."""
    max_steps: Count | None = None
    """Optimizer steps; takes precedence over epochs."""
    batch_size: Count = 32
    """Examples per optimizer step, over all devices and accumulated micro-batches."""
    micro_batch_size: Count | None = None
    """Examples per device and forward pass; none: the device's whole share of batch_size."""
    early_stopping_patience: Count | None = None
    """Evaluations without improvement before the run stops."""
    precision: Precision = "auto"
    """fp32, or mixed precision in bf16 or fp16; auto: bf16 on a GPU or NPU that supports it, else fp32."""
    gradient_checkpointing: bool = False
    """Recompute activations: much less memory for about a third more computation."""
    log_every_steps: Count = 20
    """Optimizer steps between two log lines."""
    report_to: tuple[str, ...] = ()
    """Experiment trackers, by transformers' names: tensorboard, trackio, wandb, ..."""


@dataclass(frozen=True, kw_only=True)
class RegularizationConfig(Settings):
    """What keeps the model from memorizing the training data, and the loss from favouring a label."""

    HEADING: ClassVar[str] = "regularization"

    label_smoothing: Share = 0.0
    """Share of the target probability that is spread over all labels."""
    balance_classes: bool = False
    """Weight examples so that all labels count equally; with several labels, the yes and no of each."""
    classifier_dropout: Share | None = None
    """Dropout before the classifier; none: the model's own."""
    hidden_dropout: Share | None = None
    """Dropout of hidden states; none: the model's own."""
    attention_dropout: Share | None = None
    """Dropout of attention probabilities; none: the model's own."""
    initializer_range: Positive | None = None
    """Standard deviation of new weights, for a model from scratch; none: the size's own."""
    freeze_embeddings: bool = False
    """Do not train the embeddings."""
    freeze_layers: CountOrZero = 0
    """Do not train this many layers, counted from the bottom."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig(Settings):
    """Low-rank adaptation (arXiv:2106.09685). True where it is on."""

    HEADING: ClassVar[str] = "LoRA"

    enabled: Annotated[bool, Short("lora")] = False
    """Train low-rank adapters only (package peft); they are merged into the saved model."""
    rank: Annotated[int, Range(min=1), Short("lora_rank")] = 8
    """Rank of the adapters."""
    dropout: Annotated[float, Range(min=0, below=1), Short("lora_dropout")] = 0.0
    """Dropout before the adapters."""

    def __bool__(self) -> bool:
        return self.enabled


@dataclass(frozen=True, kw_only=True)
class SiftConfig(Settings):
    """SiFT, adversarial training on normalized embeddings (``finetuning/sift.py``). True where it is on."""

    HEADING: ClassVar[str] = "SiFT"

    enabled: Annotated[bool, Short("sift")] = False
    """Also train against small perturbations of the embeddings."""
    weight: Annotated[float, Range(above=0), Short("sift_weight")] = 5.0
    """Weight of the regularizer in the loss."""
    step_size: Annotated[float, Range(above=0), Short("sift_step_size")] = 1e-4
    """Size of the ascent step: the largest coordinate of each token."""
    initial_size: Annotated[float, Range(above=0), Short("sift_initial_size")] = 1e-2
    """Standard deviation of the initial perturbation."""

    def __bool__(self) -> bool:
        return self.enabled


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Settings):
    """When the model is scored on the dev set."""

    HEADING: ClassVar[str] = "evaluation"

    eval_batch_size: Count = 64
    """Examples per device and forward pass."""
    eval_every_steps: Count | None = None
    """Optimizer steps between two evaluations; none: after every epoch."""
    keep_best: bool = True
    """End with the weights of the best evaluation, not of the last."""
    calibrate: bool = True
    """Fit a temperature on the first dev set, and a threshold per label where texts have several."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Settings):
    """What is kept to resume from."""

    HEADING: ClassVar[str] = "checkpoints"

    save_every_steps: Count | None = None
    """Optimizer steps between two checkpoints, in addition to those after each evaluation."""
    keep_checkpoints: bool = False
    """Keep the folder checkpoints (with optimizer state) after the run has finished."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Settings):
    """Every setting of a run. Defaults are the middle of the papers' search grids."""

    HEADING: ClassVar[str] = "run"

    task: str
    """Task name."""
    model: str
    """Size (trained from scratch), folder or Hub name."""
    tokenizer: str | None = None
    """Tokenizer: a folder or Hub name; none: the model's own."""
    seed: Annotated[int, Range(min=0, below=2**32)] = 1  # what numpy takes
    """Random seed of new weights, data order and dropout."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    lora: LoraConfig = LoraConfig()
    sift: SiftConfig = SiftConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
