"""The runs of `pretraining_mishaps.py`: which of them go wrong, which metrics show it, and what to change."""

from dataclasses import dataclass

_COMMON = (
    "batch_size=64", "micro_batch_size=64", "max_length=32", "packing=stream", "masking=unbiased",
    "dropout=0", "precision=fp32", "warmup_steps=0.05", "learning_rate=4e-3", "log_every_steps=50",
    "eval_every_steps=100", "save_every_steps=250", "validation_windows=128",
)  # fmt: skip
_MLM = (*_COMMON, "objective=mlm")
_RTD = (*_COMMON, "objective=rtd", "learning_rate=2e-3")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pre-training."""

    name: str
    settings: tuple[str, ...]
    start: str = "mlm-weights"
    """Random weights of one of two kinds of network, or the run whose encoder it begins with."""
    data: str = "dialogues"
    phases: tuple[tuple[str, float], ...] = ()
    """Corpora and their shares of the steps; none: the data throughout."""


@dataclass(frozen=True, kw_only=True)
class Mishap:
    """A run that went wrong, beside the run in which the advice was taken."""

    run: str
    healthy: str
    what: str
    figures: tuple[str, ...]
    """Of metrics.jsonl, at the end of the run; ``lowest NAME``: the least of the run."""
    advice: str


_RUNS = (
    Run(name="mlm", settings=_MLM),
    Run(name="adamw-high", settings=(*_MLM, "learning_rate=0.2")),
    Run(name="rtd", settings=_RTD, start="mlm"),
    Run(name="rtd-from-nothing", settings=_RTD, start="rtd-weights"),
    Run(name="few-documents", settings=_MLM, phases=(("few", 1),)),
    Run(name="warm-up", settings=(*_MLM, "learning_rate=1.6e-2", "warmup_steps=0.1")),
    Run(name="no-warm-up", settings=(*_MLM, "learning_rate=1.6e-2", "warmup_steps=0")),
    Run(name="muon", settings=(*_MLM, "optimizer=muon")),
    Run(name="muon-high", settings=(*_MLM, "optimizer=muon", "learning_rate=0.2")),
    Run(name="own-text-last", settings=_MLM, phases=(("books", 0.25), ("dialogues", 0.75))),
    Run(name="own-text-first", settings=_MLM, phases=(("dialogues", 0.75), ("books", 0.25))),
    Run(name="wsd", settings=(*_MLM, "schedule=wsd", "decay_steps=0.2")),
    Run(name="early-decay", settings=(*_MLM, "schedule=wsd", "decay_steps=0.9")),
    Run(name="misfit", settings=_MLM, data="misfit"),
    Run(name="rtd-weight-1e-7", settings=(*_RTD, "rtd_weight=1e-7"), start="mlm"),
    Run(name="rtd-hot", settings=(*_RTD, "temperature=10"), start="mlm"),
    Run(name="rtd-strong", settings=_RTD, start="strong"),
    Run(name="joint", settings=(*_RTD, "mode=joint"), start="mlm"),
    Run(name="joint-5000", settings=(*_RTD, "mode=joint", "rtd_weight=5000"), start="mlm"),
    Run(name="mask-2", settings=(*_MLM, "mask_schedule=piecewise", "mask_points=[1:0.02]")),
)
RUNS = {run.name: run for run in _RUNS}
"""All runs by name."""

MISHAPS = (
    Mishap(
        run="adamw-high",
        healthy="mlm",
        what="learning rate far too high, AdamW: 0.2 instead of 0.004",
        figures=("heldout_mlm_loss", "generator_gradient_norm", "update_norm"),
        advice="The loss stays at that of predicting word frequencies (printed in the last line of the "
        "run), or rises back to it, and the updates are many times as large. Divide `learning_rate`"
        " by 3 until the loss falls.",
    ),
    Mishap(
        run="muon-high",
        healthy="muon",
        what="learning rate far too high, Muon: 0.2 instead of 0.004",
        figures=("heldout_mlm_loss", "generator_gradient_norm", "update_norm"),
        advice="The same: Muon's updates are as large as AdamW's, so it does not tolerate a higher rate.",
    ),
    Mishap(
        run="no-warm-up",
        healthy="warm-up",
        what="no warm-up, at a learning rate that needs it: 0.016",
        figures=("heldout_mlm_loss", "generator_accuracy"),
        advice="The first updates move the weights too far, and the model starts to learn late or not at "
        "all. Set `warmup_steps` to 2 % of the run or more.",
    ),
    Mishap(
        run="mask-2",
        healthy="mlm",
        what="mask rate of 2 %",
        figures=("heldout_mlm_loss", "heldout_generator_accuracy"),
        advice="Few tokens per window contribute to the loss, so it falls slowly. Set `mask_prob` to 0.15 "
        "or more.",
    ),
    Mishap(
        run="few-documents",
        healthy="mlm",
        what="overfitting: 8 documents, repeated throughout the run",
        figures=("mlm_loss", "heldout_mlm_loss", "lowest heldout_mlm_loss"),
        advice="The training loss falls while the held-out loss rises: the model memorizes the text. Use "
        "more text, remove duplicates (`--dedup`), or stop at the lowest held-out loss.",
    ),
    Mishap(
        run="own-text-first",
        healthy="own-text-last",
        what="phases in the wrong order: the target domain first, other text last",
        figures=("heldout_mlm_loss", "lowest heldout_mlm_loss"),
        advice="The held-out loss rises in the last phase. Put the text that matters most into the decay.",
    ),
    Mishap(
        run="early-decay",
        healthy="wsd",
        what="decay that starts after a tenth of the run",
        figures=("heldout_mlm_loss", "update_norm"),
        advice="The updates shrink before the model has learned much. Decay over the last 10 to 20 % of "
        "the run.",
    ),
    Mishap(
        run="misfit",
        healthy="mlm",
        what="vocabulary of another language",
        figures=("heldout_mlm_loss",),
        advice="The loss looks good, because it is per token, and words are split into many tokens that "
        "are easy to predict. Compare losses only between runs with the same vocabulary; check "
        "`pieces_per_word` in `vocabulary.json`, and train a vocabulary on your text.",
    ),
    Mishap(
        run="rtd-from-nothing",
        healthy="rtd",
        what="RTD from random weights in a short run",
        figures=("heldout_rtd_f1", "heldout_rtd_accuracy", "heldout_rtd_accuracy_all_original"),
        advice='The discriminator predicts "original" everywhere, and F1 stays at 0. Start with masked '
        "language modelling: `--objective mlm`, then `--from RUN/encoder`.",
    ),
    Mishap(
        run="rtd-strong",
        healthy="rtd",
        what="generator too strong: the MLM run, with a discriminator that has random weights",
        figures=("heldout_rtd_f1", "heldout_replaced_rate"),
        advice="The discriminator cannot distinguish the replacements from the original text. Start the "
        "discriminator from the trained encoder, and use a generator with half its depth.",
    ),
    Mishap(
        run="rtd-hot",
        healthy="rtd",
        what="generator too weak: replacements sampled at temperature 10",
        figures=("heldout_rtd_f1", "heldout_replaced_rate"),
        advice="Nearly every masked token is replaced, and replacements are easy to detect; a high F1 then"
        " means that the task is too easy, not that the encoder is good. Leave `temperature` at 1, "
        "and use the probes.",
    ),
    Mishap(
        run="rtd-weight-1e-7",
        healthy="rtd",
        what="rtd_weight=1e-7",
        figures=("heldout_rtd_f1", "discriminator_gradient_norm"),
        advice="The gradients are smaller than `adam_epsilon`, so the weights hardly change. In two-phase "
        "mode, any value of 1 or more works, and values above 50 make no difference.",
    ),
    Mishap(
        run="joint-5000",
        healthy="joint",
        what="mode=joint with rtd_weight=5000",
        figures=("heldout_mlm_loss", "joint_gradient_norm"),
        advice="The RTD loss takes up the whole clipped gradient, so the generator does not learn. Keep "
        "`rtd_weight` near 50.",
    ),
)
"""What is shown."""
