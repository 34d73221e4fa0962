"""``debertav3 nli``: one premise, one hypothesis, one line of JSON."""

import json
from typing import Annotated

from .answer_options import BackendName, Calibration, Device, Dtype, HeadLabels, ModelNameOrNano
from .commands import Argument
from .input_checks import open_checkpoint
from .task_plan import label_list


def nli(
    premise: Annotated[str, Argument(help="The premise: what is given.")],
    hypothesis: Annotated[str, Argument(help="The hypothesis: what may follow from it.")],
    model: ModelNameOrNano = None,
    labels: HeadLabels = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    backend: BackendName = "light",
    calibrated: Calibration = True,
) -> None:
    """Classify whether one text entails another.

    Prints the probability of each label in percent.

    Example: debertav3 nli "A man is asleep on a bench." "Nobody is awake."
    """
    from ..inference.default_model import default_model
    from ..inference.inputs import check_text
    from ..inference.predictor import Predictor

    pair = (check_text(premise, what="the premise"), check_text(hypothesis, what="the hypothesis"))
    predictor = Predictor.from_pretrained(
        open_checkpoint(model or default_model()),
        task="nli",
        device=device,
        dtype=dtype,
        backend=backend,
        calibrated=calibrated,
        labels=label_list(labels),
        deferred=True,
    )
    print(json.dumps({name: round(100 * share, 1) for name, share in predictor.nli(pair).items()}))
