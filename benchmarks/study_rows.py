"""The rows of `pretraining_study.py`: what each one changes."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pre-training, and how it is fine-tuned."""

    name: str
    family: str
    what: str
    settings: tuple[str, ...] = ()
    """Of pre-training."""
    start: str = ""
    """The row whose encoder it begins with."""
    shape: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Keys of the configuration that differ from the size's."""
    times: float = 1
    """Steps, as a multiple of the study's."""
    trains: bool = True
    is_stock: bool = False
    is_base: bool = False
    """Made for other rows to begin with; not scored."""
    finetuning: tuple[str, ...] = ()
    pace: str = ""
    """The row whose steps take as long; empty: its own."""
    time_of: str = ""
    """Of an equal-time row: the row whose seconds it may take."""

    @property
    def pace_row(self) -> str:
        """The row in whose name its seconds per step are measured."""
        return self.pace or self.name


MLM = ("objective=mlm", "learning_rate=1e-3")
RTD = ("objective=rtd", "learning_rate=1e-3")
AGAIN = ("objective=rtd", "learning_rate=5e-4")
ES = ("sharing=es", "mode=joint")
WSD = ("schedule=wsd", "decay_steps=0.2")
FALLING = "phases=[{mask_prob: 0.3, mask_prob_end: 0.1}]"
MORE = "phases=[{mask_prob: 0.3}]"
"""Mask rates of one phase over the whole run, so that validation masks 15 % as in the other rows."""


def _equal_time(row: Row, time_of: str) -> Row:
    what = f"{row.what}, equal time"
    return replace(row, name=f"{row.name}-time", what=what, pace=row.pace_row, time_of=time_of)


BASES = (
    Row(
        name="start",
        family="start",
        what="MLM + EMD, 2.5 times as long",
        settings=MLM,
        pace="mlm",
        times=2.5,
        is_base=True,
    ),
)

_STOCK = Row(
    name="mlm-stock", family="objective", what="MLM, transformers' DebertaV2ForMaskedLM", is_stock=True
)
_SCRATCH = tuple(
    Row(name=f"rtd-{name}", family="objective", what=f"RTD, {name.upper()}", settings=(*RTD, *settings))
    for name, settings in (("nes", ("sharing=nes",)), ("es", ES), ("gdes", ("sharing=gdes",)))
)
_AGAIN = tuple(
    Row(
        name=f"start-rtd-{name}",
        family="start",
        what=f"from the starting point: RTD, {name.upper()}",
        settings=(*AGAIN, *settings),
        start="start",
        pace=f"rtd-{name}",
    )
    for name, settings in (("nes", ("sharing=nes",)), ("es", ES), ("gdes", ("sharing=gdes",)))
)

ROWS = (
    Row(name="random", family="objective", what="random weights", pace="mlm", trains=False),
    _STOCK,
    Row(name="mlm", family="objective", what="MLM + EMD", settings=MLM),
    Row(
        name="mlm-seed-1",
        family="objective",
        what="the same, another seed",
        settings=(*MLM, "seed=1"),
        pace="mlm",
    ),
    *_SCRATCH,
    _equal_time(_STOCK, "mlm"),
    *(_equal_time(row, "mlm") for row in _SCRATCH),
    Row(
        name="start-alone",
        family="start",
        what="the starting point, not trained further",
        start="start",
        pace="mlm",
        trains=False,
    ),
    Row(
        name="start-mlm",
        family="start",
        what="from the starting point: MLM + EMD",
        settings=("objective=mlm", "learning_rate=5e-4"),
        start="start",
        pace="mlm",
    ),
    *_AGAIN,
    *(_equal_time(row, "start-mlm") for row in _AGAIN),
    Row(name="muon", family="optimizer", what="Muon instead of AdamW", settings=(*MLM, "optimizer=muon")),
    Row(
        name="muon-2e-3",
        family="optimizer",
        what="Muon, doubled learning rate",
        settings=("objective=mlm", "learning_rate=2e-3", "optimizer=muon"),
        pace="muon",
    ),
    Row(
        name="adamw-2e-3",
        family="optimizer",
        what="AdamW, doubled learning rate",
        settings=("objective=mlm", "learning_rate=2e-3"),
        pace="mlm",
    ),
    Row(name="wsd", family="schedule", what="WSD instead of linear", settings=(*MLM, *WSD), pace="mlm"),
    Row(
        name="falling-mask",
        family="schedule",
        what="mask rate falling from 30 to 10 %",
        settings=(*MLM, FALLING),
    ),
    Row(name="mask-30", family="schedule", what="mask rate of 30 %", settings=(*MLM, MORE)),
    Row(
        name="documents",
        family="packing",
        what="windows of whole documents instead of one stream; its loss is on such windows",
        settings=(*MLM, "packing=documents"),
    ),
    Row(
        name="no-c2p",
        family="attention",
        what="without content-to-position attention",
        settings=MLM,
        shape=(("pos_att_type", ("p2c",)),),
    ),
    Row(
        name="no-p2c",
        family="attention",
        what="without position-to-content attention",
        settings=MLM,
        shape=(("pos_att_type", ("c2p",)),),
    ),
    Row(
        name="sift",
        family="sift",
        what="the starting point, fine-tuned with SiFT",
        start="start",
        pace="mlm",
        trains=False,
        finetuning=("sift=true",),
    ),
)
"""All rows.

``mlm`` is what the rows of the families optimizer, schedule, packing and attention are compared with; its
difference from ``mlm-seed-1`` is the noise of a pre-training.
"""
