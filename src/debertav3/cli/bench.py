"""``debertav3 bench``: how fast this machine answers."""

import json
import sys
from pathlib import Path
from typing import Annotated

from ..files import Output
from .commands import Option
from .options import Overwrite
from .outputs import guard
from .terminal import wrote


def bench(
    model: Annotated[
        str, Option(help="A size such as xsmall, with random weights, or a checkpoint folder.")
    ] = "xsmall",
    exported: Annotated[
        list[Path] | None,
        Option(help="Folders of debertav3 export to measure too, such as int8; several may follow."),
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Two shapes, three rounds, torch only: well under a minute.")
    ] = False,
    shapes: Annotated[
        str | None, Option(help="Texts x tokens.", show_default="1x32,1x128,8x128,16x64,2x512")
    ] = None,
    rounds: Annotated[int | None, Option(help="Measured rounds.", show_default="7", min=1)] = None,
    threads: Annotated[int | None, Option(help="Threads.", show_default="all cores", min=1)] = None,
    plot: Annotated[Path | None, Option(help="Also plot tokens per second, as a PNG file.")] = None,
    compare: Annotated[Path | None, Option(help="JSON line of an earlier run to compare with.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how fast this machine runs a model.

    Measures its matmul rate, then every backend, compared with stock transformers.

    All run in one process in alternating rounds. The table goes to stderr, one JSON line to stdout.

    Example: debertav3 bench --quick
    """
    import os

    from ..cpu.kernel.threads import num_threads
    from ..errors import UserError

    guard(
        Output(option="--plot", path=plot),
        inputs={"--model": model, "--exported": exported, "--compare": compare},
        overwrite=overwrite,
    )
    if plot is not None and plot.suffix.lower() != ".png":
        raise UserError(f"--plot writes PNG; got {plot}. Give a name that ends in .png.")
    from ..inference.files.workers import THREAD_VARIABLES

    number = threads or num_threads()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(number)))  # before torch reads them

    from ..inference.bench.plan import QUICK_SHAPES, SHAPES, BenchConfig, read_earlier, read_shapes

    config = BenchConfig(
        model=model,
        exported=tuple(exported or ()),
        shapes=read_shapes(shapes) if shapes else QUICK_SHAPES if quick else SHAPES,
        rounds=rounds or (3 if quick else 7),
        threads=number,
        with_exports=not quick,
    )
    earlier = None if compare is None else read_earlier(compare, config.shapes)
    from ..inference.bench import report
    from ..inference.bench.measure import run_bench

    if plot is not None:
        report.require_matplotlib()
    print(report.HEADER, file=sys.stderr)
    found = run_bench(config, show=lambda figure: print(report.line(figure), file=sys.stderr, flush=True))
    print(f"\n{report.limits(found)}", file=sys.stderr)
    print(
        f"\nIs this processor missing in docs/inference.md? Please send:\n{report.row(found)}",
        file=sys.stderr,
    )
    print(json.dumps({"benchmark": "bench", **found.as_dict()}), flush=True)
    if earlier is not None:
        print("", *report.compared(found, earlier), sep="\n", file=sys.stderr)
    if plot is not None:
        report.plot(found, plot)
    wrote(plot)
