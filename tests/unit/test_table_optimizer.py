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


def test_what_is_saved_is_the_state_of_adamw() -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    for number in range(5):
        step(plain, stock, number, 60)
        step(ours, table, number, 60)
    want, got = stock.state_dict(), table.state_dict()
    assert want["param_groups"] == got["param_groups"]
    for number, state in want["state"].items():
        assert state.keys() == got["state"][number].keys()
        assert all(torch.equal(state[name], got["state"][number][name]) for name in state)
    stock.load_state_dict(saved_and_loaded(got))  # as where a run goes on in several processes
    step(plain, stock, 5, 60)
    step(ours, table, 5, 60)
    assert torch.equal(weights(ours), weights(plain))


def test_a_copy_goes_on_and_hooks_run_once() -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    calls = []
    table.register_step_pre_hook(lambda *_: calls.append("before"))
    table.register_step_post_hook(lambda *_: calls.append("after"))
    step(plain, stock, 0, 60)
    step(ours, table, 0, 60)
    assert calls == ["before", "after"]
    network, optimizer = copy.deepcopy((ours, table))
    for number in range(1, 4):
        step(plain, stock, number, 90)
        step(network, optimizer, number, 90)
    assert torch.equal(weights(network), weights(plain))


def test_ids_may_be_of_32_bits_and_in_memory_that_is_used_again() -> None:
    plain, ours = networks()
    stock, table = optimizers(plain, ours, weight_decay=0.1)
    ids = torch.zeros(2, 6, dtype=torch.int32)
    for number in range(4):
        ids.copy_(torch.randint(0, 60, (2, 6), generator=torch.Generator().manual_seed(number)))
        for network, optimizer in ((plain, stock), (ours, table)):
            network(ids).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
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
    assert "rows" in again.state[ours[0].weight]
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
