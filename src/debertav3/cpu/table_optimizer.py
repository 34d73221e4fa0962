"""AdamW whose moments of a table of word embeddings have rows only for words that had a gradient.

Most rows of a table of 128,100 words never meet a text of the training data. Their moments are zeros, and
AdamW does nothing to them but decay. Here they have no moments: less memory, smaller checkpoints, and a step
that reads a fraction of the table. The weights are those of `torch.optim.AdamW` (Loshchilov and Hutter,
arXiv:1711.05101, algorithm 2), in its own arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from .table_memory import TableEmbedding

LARGEST_SHARE = 1 / 3
"""With more of its rows in use, a table gets moments for all: it would take more time than they do."""
BLOCK = 512
"""Rows that are updated at a time: their weights, moments and gradients fit a second-level cache."""


class TableAdamW(torch.optim.AdamW):
    """AdamW over all parameters; the tables' moments grow with the rows in use.

    The state of a table has ``rows`` (R), the words' ids, -1 where there is room for another, and the moments
    ``(R, D)``. A state with the moments of all rows, as of `torch.optim.AdamW`, can be loaded too.

    Args:
        params: parameters or groups, as for `torch.optim.AdamW`.
        tables: from `debertav3.cpu.table_memory.keep_word_gradients`.
        options: of `torch.optim.AdamW`, without ``amsgrad``.
    """

    def __init__(self, params: ParamsT, *, tables: Sequence[TableEmbedding], **options: Any) -> None:
        super().__init__(params, **options)
        self._tables = {id(table.weight): table for table in tables}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        done: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for weight in group["params"]:
                table = self._tables.get(id(weight))
                if table is None or weight.grad is None:
                    continue
                state = self.state[weight]
                if state and "rows" not in state:
                    continue
                if self._make_room(state, table):
                    _update_rows(weight, state, group)
                    done.append((weight, weight.grad))
                    weight.grad = None  # so that the rest of the step leaves it as it is
        super().step()
        for weight, gradient in done:
            weight.grad = gradient
        return loss

    def _make_room(self, state: dict[str, Tensor], table: TableEmbedding) -> bool:
        """Give each row that has a gradient its moments; False if all rows have them now."""
        weight = table.weight
        assert weight.grad is not None, "only tables with a gradient come here"
        if not state:
            state["step"] = torch.tensor(0.0)
            state["rows"] = torch.empty(0, dtype=torch.int64)
            state["exp_avg"], state["exp_avg_sq"] = (weight.new_empty(0, weight.shape[1]) for _ in range(2))
        state["rows"] = rows = state["rows"].long()  # `load_state_dict` makes floats of what is loaded
        touched = table.table_memory.touched(weight)
        if touched is None:
            touched = weight.grad.any(1).nonzero().squeeze(1)
        is_new = torch.ones(len(weight), dtype=torch.bool)
        is_new[rows[rows >= 0]] = False
        new = touched[is_new[touched]]
        used = int((rows >= 0).sum())
        count = used + len(new)
        if count > LARGEST_SHARE * len(weight):
            for name in ("exp_avg", "exp_avg_sq"):
                whole = torch.zeros_like(weight)
                whole[rows[:used]] = state[name][:used]
                state[name] = whole
            del state["rows"]
            return False
        if count > len(rows):
            more = count + count // 4 - len(rows)
            state["rows"] = rows = torch.cat([rows, rows.new_full((more,), -1)])
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.cat([state[name], weight.new_zeros(more, weight.shape[1])])
        rows[used:count] = new
        return True


def _update_rows(weight: nn.Parameter, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    """AdamW's step: all rows decay, those in use move; a block of them at a time, which stays in cache."""
    assert weight.grad is not None and not group["amsgrad"], "moments are those of AdamW, gradients are there"
    if group["weight_decay"]:
        weight.mul_(1 - group["lr"] * group["weight_decay"])
    rows = state["rows"]
    rows = rows[rows >= 0]
    used, gradient = (weight.new_empty(min(len(rows), BLOCK), weight.shape[1]) for _ in range(2))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        torch.index_select(weight, 0, block, out=used[: len(block)])
        torch.index_select(weight.grad, 0, block, out=gradient[: len(block)])
        adamw(
            [used[: len(block)]],
            [gradient[: len(block)]],
            [state["exp_avg"][start : start + len(block)]],
            [state["exp_avg_sq"][start : start + len(block)]],
            [],
            [state["step"].clone()],
            foreach=group["foreach"],
            capturable=group["capturable"],
            differentiable=group["differentiable"],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=group["maximize"],
        )
        weight.index_copy_(0, block, used[: len(block)])
    state["step"] += 1
