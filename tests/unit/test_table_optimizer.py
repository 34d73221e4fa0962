"""AdamW with moments for the rows in use: the weights of `torch.optim.AdamW`, bit for bit."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from debertav3.cpu.table_memory import TableEmbedding
from debertav3.cpu.table_optimizer import LARGEST_SHARE, TableAdamW

VOCAB, WIDTH = 400, 32


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """Equal networks: with torch's table, and with one whose gradient stays in its memory."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Embedding(VOCAB, WIDTH, padding_idx=0), nn.Linear(WIDTH, 3))
    ours = copy.deepcopy(plain)
    ours[0] = TableEmbedding(ours[0])  # type: ignore[arg-type]
    return plain, ours


def optimizers(
    plain: nn.Sequential, ours: nn.Sequential, **options: object
) -> tuple[torch.optim.AdamW, TableAdamW]:
    table = ours[0]
    assert isinstance(table, TableEmbedding)
    return (
        torch.optim.AdamW(plain.parameters(), **options),  # type: ignore[arg-type]
        TableAdamW(ours.parameters(), tables=[table], **options),
    )


def step(network: nn.Sequential, optimizer: torch.optim.Optimizer, number: int, words: int) -> None:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(0, words, (2, 6), generator=draw)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 / (1 + number)
    network(ids).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def weights(network: nn.Sequential) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_weights_are_those_of_adamw(fused: bool, decay: float) -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=decay, fused=fused)
    for number in range(12):  # at first few words, then more of them, then most
        words = (20, 90, VOCAB)[number // 4]
        step(plain, stock, number, words)
        step(ours, table, number, words)
        assert torch.equal(weights(ours), weights(plain)), number
    rows = table.state[ours[0].weight]["rows"]
    assert 0 < (rows >= 0).sum() < LARGEST_SHARE * VOCAB
    assert len(table.state[ours[0].weight]["exp_avg"]) == len(rows) < VOCAB


def test_most_words_in_use_end_in_moments_for_all() -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    for number in range(60):
        step(plain, stock, number, VOCAB)
        step(ours, table, number, VOCAB)
    assert "rows" not in table.state[ours[0].weight]
    assert torch.equal(weights(ours), weights(plain))


def saved_and_loaded(state: dict[str, object]) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, object] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("from_stock", [False, True])
def test_a_loaded_state_goes_on_alike(from_stock: bool) -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    for number in range(5):
        step(plain, stock, number, 60)
        step(ours, table, number, 60)
    _, again = optimizers(plain, ours, weight_decay=0.1)
    again.load_state_dict(saved_and_loaded((stock if from_stock else table).state_dict()))
    for number in range(5, 10):
        step(plain, stock, number, 90)
        step(ours, again, number, 90)
    assert ("rows" in again.state[ours[0].weight]) is not from_stock
    assert torch.equal(weights(ours), weights(plain))


def test_a_gradient_of_all_rows_is_read_for_what_is_in_it() -> None:
    """Where autograd made the gradient, as in training that several processes share."""
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    for network, optimizer in ((plain, stock), (ours, table)):
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        network[0].weight.grad[5:] = 0.0
        optimizer.step()
    assert table.state[ours[0].weight]["rows"][:5].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(weights(ours), weights(plain))
    assert ours[0].weight.grad is not None, "the gradient is left where it was"


def test_a_skipped_step_changes_nothing() -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    step(ours, table, 0, 60)
    step(plain, stock, 0, 60)
    before = weights(ours)
    table.step()  # without gradients
    assert torch.equal(weights(ours), before)
