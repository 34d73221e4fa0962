"""Natural language inference and the GLUE tasks, a few lines each.

Label ids are those of the public copies (GLUE on the Hub), so rows with numbers are read as well as rows with
names.
"""

from .metrics import accuracy, macro_f1
from .task import Task

NLI_LABELS = ("entailment", "neutral", "contradiction")
TWO_WAY_LABELS = ("entailment", "not_entailment")

NLI = Task(
    name="nli",
    columns=(("premise", "sentence1", "text1"), ("hypothesis", "sentence2", "text2")),
    label_column=("label", "gold_label"),
    label_sets=(NLI_LABELS, TWO_WAY_LABELS),
    label_aliases={"0": "entailment", "1": "neutral", "2": "contradiction", "entails": "entailment"},
    metrics=(accuracy, macro_f1),
)
MNLI = Task(
    name="mnli",
    columns=NLI.columns,
    label_column=NLI.label_column,
    label_sets=(NLI_LABELS,),
    label_aliases=NLI.label_aliases,
    metrics=(accuracy,),
)

GLUE_TASKS = (NLI, MNLI)
