"""``report.html`` of a pre-training run: one file, with its curves in it."""

import base64
import html
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_NETWORKS = ("generator", "discriminator", "joint")
_PLOTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Generator loss (nats per masked token)", ("mlm_loss", "heldout_mlm_loss")),
    ("Generator accuracy", ("generator_accuracy", "heldout_generator_accuracy")),
    ("Discriminator loss (nats per token)", ("rtd_loss", "heldout_rtd_loss")),
    ("Detection on held-out text", ("heldout_rtd_precision", "heldout_rtd_recall", "heldout_rtd_f1")),
    (
        "Accuracy against saying original everywhere",
        ("heldout_rtd_accuracy", "heldout_rtd_accuracy_all_original"),
    ),
    ("Replaced rate", ("replaced_rate", "heldout_replaced_rate")),
    (
        "Average cosine inside the embedding tables",
        ("heldout_cosine_generator", "heldout_cosine_discriminator", "heldout_cosine_delta"),
    ),
    (
        "Gradient norm before clipping",
        ("generator_gradient_norm", "discriminator_gradient_norm", "joint_gradient_norm"),
    ),
    ("Update norm", ("update_norm",)),
    ("Learning rate", ("learning_rate",)),
    ("Tokens per second", ("tokens_per_second",)),
    ("Share of the measured rate of products", ("model_flops_utilisation",)),
)

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem}
img{width:100%}table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid
#ddd;text-align:left}
pre{background:#f5f5f5;padding:1rem;overflow:auto}"""


def write_report(out: Path) -> Path | None:
    """Write ``report.html`` from ``metrics.jsonl`` and ``run.json``; None if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        log.warning("no report.html: matplotlib is not installed (pip install 'debertav3[pretrain]')")
        return None
    matplotlib.use("Agg")
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    plots = [picture for title, names in _PLOTS if (picture := _plot(title, names, rows))]
    last: dict[str, Any] = {}
    for row in rows:
        last.update(row)
    table = "".join(f"<tr><td>{html.escape(k)}</td><td>{_number(v)}</td></tr>" for k, v in last.items())
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Pre-training report</title>"
        f"<style>{_STYLE}</style><h1>Pre-training of {html.escape(run['config']['size'])}, "
        f"{html.escape(run['config']['objective'])}</h1>"
        f"<div class=plots>{''.join(plots)}</div><h2>Last figures</h2><table>{table}</table>"
        f"<h2>Configuration</h2><pre>{html.escape(json.dumps(run, indent=2))}</pre></html>\n"
    )
    path = out / "report.html"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else html.escape(str(value))


def _plot(title: str, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> str | None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    drawn = 0
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=name.replace("_", " "))
            drawn += 1
    if not drawn:
        return None
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
