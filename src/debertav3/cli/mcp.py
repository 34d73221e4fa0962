"""``debertav3 mcp``: models as tools for language models, over stdin and stdout."""

from typing import Annotated

from .answer_options import BackendName, BatchTokens, Calibration, Device, Dtype, HeadLabels, MaxLength
from .commands import Option
from .options import MODEL
from .served_models import ServedTask, load_models, open_models, require_packages


def mcp(
    model: Annotated[
        list[str] | None,
        Option(
            help="Checkpoint folder or Hub name, or NAME=MODEL; several may be given.",
            show_default="the nano model",
            heading=MODEL,
        ),
    ] = None,
    task: ServedTask = None,
    labels: HeadLabels = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    backend: BackendName = "light",
    calibrated: Calibration = True,
    batch_tokens: BatchTokens = None,
    max_length: MaxLength = None,
) -> None:
    """Offer models as MCP tools over stdio.

    Tools are classify, nli, zero_shot, ner, qa and rerank, as far as the loaded heads can answer them. A
    client such as a desktop assistant starts this command; it ends when the client closes stdin.

    Example: debertav3 mcp --model nli=my-nli --model ner=my-ner
    """
    require_packages("mcp", "mcp", "fastapi", "prometheus_client", extra="mcp")
    checkpoints = open_models(model)

    from ..errors import UserError
    from ..serve import Limits
    from ..serve.answers import ServedModel
    from ..serve.mcp_tools import run, tools_of
    from ..serve.request_log import RequestLog
    from ..serve.service import Service

    predictors = load_models(
        checkpoints,
        labels=labels,
        task=task,
        device=device,
        dtype=dtype,
        backend=backend,
        calibrated=calibrated,
        max_length=max_length,
        batch_tokens=batch_tokens,
    )
    served = {name: ServedModel(name, predictor) for name, predictor in predictors.items()}
    service = Service(served, limits=Limits(), log=RequestLog(stream=None))
    if not tools_of(service):
        tasks = sorted({task for one in served.values() for task in one.tasks}) or ["nothing"]
        raise UserError(
            f"no MCP tool for these models: they can do {', '.join(tasks)}; need a head for classify, nli, "
            "zero-shot, ner, qa or rerank."
        )
    run(service)
