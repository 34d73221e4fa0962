"""Where the data of the public tasks are on the Hub, for a command that names none."""

_GLUE = "datasets:nyu-mll/glue"

PUBLIC_SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Task: training sources, dev sources.
    "mnli": ((f"{_GLUE}:mnli",), (f"{_GLUE}:mnli:validation_matched", f"{_GLUE}:mnli:validation_mismatched")),
    **{
        task: ((f"{_GLUE}:{task}",), (f"{_GLUE}:{task}:validation",))
        for task in ("qnli", "qqp", "rte", "wnli", "cola", "sst2", "mrpc", "stsb")
    },
    "squad1": (("datasets:rajpurkar/squad",), ("datasets:rajpurkar/squad::validation",)),
    "squad2": (("datasets:rajpurkar/squad_v2",), ("datasets:rajpurkar/squad_v2::validation",)),
    "boolq": (("datasets:google/boolq",), ("datasets:google/boolq::validation",)),
    "race": (("datasets:ehovy/race:all",), ("datasets:ehovy/race:all:validation",)),
    "swag": (("datasets:allenai/swag:regular",), ("datasets:allenai/swag:regular:validation",)),
    "arc": (
        ("datasets:allenai/ai2_arc:ARC-Challenge",),
        ("datasets:allenai/ai2_arc:ARC-Challenge:validation",),
    ),
}
