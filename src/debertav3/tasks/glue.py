"""Natural language inference, the GLUE tasks and BoolQ, a few lines each.

Names are in the order of the public copies' numbers (GLUE on the Hub), so rows with numbers are read too.
Scores are GLUE's own (gluebenchmark.com/tasks).
"""

from .columns import (
    PAIR_COLUMNS,
    QUESTION_PASSAGE_COLUMNS,
    QUESTION_SENTENCE_COLUMNS,
    QUESTIONS_COLUMNS,
    SENTENCE_COLUMNS,
    SENTENCES_COLUMNS,
)
from .labels import LABEL_COLUMNS, NLI_LABELS, NLI_SPELLINGS, TWO_WAY_LABELS
from .text import Numbered, TextTask

_THREE_WAY = {**NLI_SPELLINGS, "0": "entailment", "1": "neutral", "2": "contradiction"}
_TWO_WAY = {
    **NLI_SPELLINGS,
    "0": "entailment",
    "1": "not_entailment",
    "neutral": "not_entailment",
    "contradiction": "not_entailment",
    "unknown": "not_entailment",
}
_YES_NO = (("0", "1"),)

NLI_LABEL_COLUMNS = (*LABEL_COLUMNS, "gold", "entailment_judgment", "entailment", "value")
"""After the usual names those of WANLI, SICK, the RTE challenges."""

_SCITAIL = Numbered(texts=("1", "2"), label="3")

NLI = TextTask(
    name="nli",
    columns=PAIR_COLUMNS,
    without_names=_SCITAIL,
    label_column=NLI_LABEL_COLUMNS,
    label_sets=(NLI_LABELS, TWO_WAY_LABELS),
    label_aliases=_THREE_WAY,
    metrics=("accuracy", "macro_f1"),
)
MNLI = TextTask(
    name="mnli",
    columns=PAIR_COLUMNS,
    without_names=_SCITAIL,
    label_column=NLI_LABEL_COLUMNS,
    label_sets=(NLI_LABELS,),
    label_aliases=_THREE_WAY,
    metrics=("accuracy",),
)
QNLI = TextTask(
    name="qnli",
    columns=QUESTION_SENTENCE_COLUMNS,
    label_sets=(TWO_WAY_LABELS,),
    label_aliases=_TWO_WAY,
    metrics=("accuracy",),
)
RTE = TextTask(
    name="rte",
    columns=PAIR_COLUMNS,
    without_names=_SCITAIL,
    label_column=NLI_LABEL_COLUMNS,
    label_sets=(TWO_WAY_LABELS,),
    label_aliases=_TWO_WAY,
    metrics=("accuracy",),
)
WNLI = TextTask(
    name="wnli",
    columns=SENTENCES_COLUMNS,
    label_sets=_YES_NO,
    label_aliases={"not_entailment": "0", "entailment": "1"},
    metrics=("accuracy",),
)
QQP = TextTask(
    name="qqp",
    columns=QUESTIONS_COLUMNS,
    label_column=("label", "is_duplicate"),
    label_sets=_YES_NO,
    label_aliases={"not_duplicate": "0", "duplicate": "1"},
    metrics=("accuracy", "f1"),
)
MRPC = TextTask(
    name="mrpc",
    columns=SENTENCES_COLUMNS,
    label_column=("label", "Quality"),
    label_sets=_YES_NO,
    label_aliases={"not_equivalent": "0", "equivalent": "1"},
    metrics=("accuracy", "f1"),
)
COLA = TextTask(
    name="cola",
    columns=SENTENCE_COLUMNS,
    without_names=Numbered(texts=("4",), label="2"),
    label_sets=_YES_NO,
    label_aliases={"unacceptable": "0", "acceptable": "1"},
    metrics=("matthews_corrcoef", "accuracy"),
)
SST2 = TextTask(
    name="sst2",
    columns=SENTENCE_COLUMNS,
    label_sets=(("negative", "positive"),),
    label_aliases={"0": "negative", "1": "positive"},
    metrics=("accuracy",),
)
STSB = TextTask(
    name="stsb",
    columns=SENTENCES_COLUMNS,
    label_column=("label", "score", "relatedness_score"),
    without_names=Numbered(texts=("6", "7"), label="5"),
    target="number",
    metrics=("pearson", "spearman"),
)
BOOLQ = TextTask(
    name="boolq",
    columns=QUESTION_PASSAGE_COLUMNS,
    label_column=("label", "answer"),
    label_sets=(("false", "true"),),
    label_aliases={"0": "false", "1": "true", "no": "false", "yes": "true"},
    metrics=("accuracy",),
)

GLUE_TASKS = (MNLI, QNLI, QQP, RTE, WNLI, COLA, SST2, MRPC, STSB)
TEXT_TASKS = (NLI, *GLUE_TASKS, BOOLQ)
