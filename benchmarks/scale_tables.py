"""Tables of docs/scale.md: tokens, operations, memory, network and days of full pre-training.

    python benchmarks/scale_tables.py > tables.md

Nothing here is measured; utilization is the free variable. What a run of yours reaches stands in its log as
``model_flops_utilisation``.
"""

from debertav3.pretrain.flops import detection_flops, masked_lm_flops
from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.sizes import count_parameters, raw_config

SIZES = ("xsmall", "small", "base", "large", "mdeberta-base")
PEAK = 400e12
"""bf16 products per second of one accelerator in these tables; scale the days by yours."""
UTILIZATIONS = (0.2, 0.35, 0.5)
DEVICES = (1, 8, 64, 512)
TEXT_BYTES = 160e9
BYTES_PER_TOKEN = 4.4
"""Of English text with the released vocabulary of 128,000 pieces."""


def networks(size: str) -> tuple[dict[str, object], dict[str, object]]:
    """Configurations of generator and discriminator."""
    raw = raw_config(size)
    return {**raw, "num_hidden_layers": raw["num_hidden_layers"] // 2}, raw


def trained_parameters(size: str) -> tuple[int, int]:
    """Trained numbers of generator and discriminator; the latter's word table is delta, of the same size."""
    generator, discriminator = networks(size)
    return (
        count_parameters(generator, head="masked-lm", with_position_table=True).total,
        count_parameters(discriminator, head="replaced-token-detection").total,
    )


def flops_per_token(size: str, config: PretrainConfig) -> float:
    """Forward and backward of both networks."""
    generator, discriminator = networks(size)
    length, mask_prob = config.data.max_length, config.masking.mask_prob
    guessing = masked_lm_flops(generator, length=length, mask_prob=mask_prob)
    return guessing + detection_flops(discriminator, length=length)


def activation_bytes(size: str, config: PretrainConfig) -> float:
    """What one micro-batch of the discriminator keeps for its backward pass, in bf16.

    About 34 bytes per token, width and layer for the linear parts, and two arrays of attention weights; with
    gradient checkpointing one layer's at a time and the layers' inputs.
    """
    raw = raw_config(size)
    tokens = config.data.micro_batch_size * config.data.max_length
    linear = tokens * raw["hidden_size"] * 34
    weights = 2 * 2 * tokens * config.data.max_length * raw["num_attention_heads"]
    layers = 1 if config.compute.gradient_checkpointing else raw["num_hidden_layers"]
    kept_inputs = tokens * raw["hidden_size"] * 2 * raw["num_hidden_layers"]
    return layers * (linear + weights) + kept_inputs


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main() -> None:
    """Print the tables."""
    config = recipe("base")
    batch, length, steps = config.data.batch_size, config.data.max_length, config.loop.max_steps
    tokens = batch * length * steps
    disk = TEXT_BYTES / BYTES_PER_TOKEN
    print(f"Tokens seen: {batch} x {length} x {steps:,} = {tokens / 1e12:.2f} T")
    print(
        f"Tokens of 160 GB of text: about {disk / 1e9:.0f} G, {4 * disk / 1e9:.0f} GB of uint32 shards, "
        f"seen {tokens / disk:.0f} times\n"
    )
    print("### Work\n")
    rows = []
    for size in SIZES:
        generator, discriminator = trained_parameters(size)
        per_token = flops_per_token(size, recipe(size))
        rows.append(
            [
                size,
                f"{generator / 1e6:.0f}",
                f"{discriminator / 1e6:.0f}",
                f"{per_token / 1e9:.2f}",
                f"{per_token * tokens / 1e21:.2f}",
            ]
        )
    print(
        table(
            ["size", "generator, M", "discriminator, M", "GFLOP per token", "whole run, ZFLOP (1e21)"], rows
        )
    )
    print(f"\n### Days on accelerators of {PEAK / 1e12:.0f} TFLOP/s, by utilization\n")
    rows = [
        [size, f"{u:.0%}"]
        + [f"{flops_per_token(size, recipe(size)) * tokens / (PEAK * u * n) / 86400:,.1f}" for n in DEVICES]
        for size in SIZES
        for u in UTILIZATIONS
    ]
    print(table(["size", "utilization", *[f"{n}" for n in DEVICES]], rows))
    print("\n### Memory of one device, GiB (without the framework's own)\n")
    rows = []
    for size in SIZES:
        own = recipe(size)
        state = 16 * sum(trained_parameters(size)) / 2**30
        act = activation_bytes(size, own) / 2**30
        rows.append(
            [
                size,
                str(own.data.micro_batch_size),
                "yes" if own.compute.gradient_checkpointing else "no",
                f"{act:.1f}",
                f"{state:.1f}",
            ]
            + [f"{state / n:.2f}" for n in (8, 64)]
        )
    head = ["size", "micro-batch", "checkpointing", "activations", "DDP state", "sharded over 8", "over 64"]
    print(table(head, rows))
    print("\n### Network and disk\n")
    rows = []
    for size in SIZES:
        trained = sum(trained_parameters(size))
        volume = [2 * (n - 1) / n * 4 * trained / 2**30 for n in (8, 512)]
        checkpoint = 12 * trained / 2**30
        rows.append([size, *[f"{v:.2f}" for v in volume], f"{checkpoint:.1f}"])
    head = ["size", "all-reduce per step and device, 8 (GiB)", "the same, 512", "one checkpoint (GiB)"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
