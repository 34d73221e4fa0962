"""How fast is our encoder beside stock transformers, eager? V3 xsmall shape, random weights, fp32.

Run: python benchmarks/torch_backend.py --threads 2
"""

import argparse
import statistics
from functools import partial

import torch
import transformers

from debertav3 import DebertaV2Model
from debertav3.cpu.pack import pack_for_inference
from debertav3.sizes import config_for
from side_by_side import alternate, matmul_rate, print_json, ratio

SHAPES = ["1x32", "1x128", "8x128", "16x64", "2x512"]


def products(config: transformers.DebertaV2Config, batch: int, length: int) -> int:
    """Floating-point operations of the matrix products of one forward pass as our graph does them.

    Linear layers, content scores, weights times values, and the position products with 2 * length - 1 rows
    each; the projection of the relative table is left out, since inference does it once per checkpoint.
    """
    width, inner = config.hidden_size, config.intermediate_size
    tokens = batch * length
    linear = 2 * tokens * (4 * width * width + 2 * width * inner)
    attention = 2 * tokens * width * (2 * length + 2 * (2 * length - 1))
    return config.num_hidden_layers * (linear + attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="batch x tokens")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    config = config_for("xsmall")
    stock = transformers.DebertaV2Model(config_for("xsmall")).eval()
    ours = DebertaV2Model(config).eval()  # a config of its own: a model writes its attention into it
    ours.load_state_dict(stock.state_dict())
    pack_for_inference(ours)  # as the predictor's torch backend does
    rows = []
    print(f"{'batch x tokens':>14} {'stock ms':>9} {'ours ms':>9} {'times':>6} {'share of matmul rate':>21}")
    with torch.inference_mode():
        for batch, length in (map(int, shape.split("x")) for shape in arguments.shapes):
            ids = torch.randint(4, config.vocab_size, (batch, length))
            mask = torch.ones_like(ids)
            wanted, got = stock(ids, mask).last_hidden_state, ours(ids, mask).last_hidden_state
            if (error := (wanted - got).abs().max().item()) > 1e-4:
                raise SystemExit(f"outputs differ by {error}: a faster wrong answer is no answer")
            seconds = alternate(
                {
                    "stock": partial(stock, ids, mask),
                    "ours": partial(ours, ids, mask),
                },
                rounds=arguments.rounds * (1 if batch * length > 256 else 3),  # short calls vary more
            )
            rate = products(config, batch, length) / statistics.median(seconds["ours"])
            row = {
                "shape": [batch, length],
                "stock_ms": statistics.median(seconds["stock"]) * 1e3,
                "ours_ms": statistics.median(seconds["ours"]) * 1e3,
                "times": ratio(seconds["stock"], seconds["ours"]),
                "share": rate / matmul_rate(),
                "max_error": error,
            }
            rows.append(row)
            times = f"{row['stock_ms']:>8.1f} {row['ours_ms']:>9.1f} {row['times']:>6.2f}"
            print(f"{batch:>8} x {length:<4} {times} {row['share']:>20.0%}", flush=True)
    print_json("torch_backend", transformers=transformers.__version__, rows=rows)


if __name__ == "__main__":
    main()
