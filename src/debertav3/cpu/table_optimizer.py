"""AdamW whose moments of a table of word embeddings have rows only for words that had a gradient.

Most rows of a table of 128,100 words never meet a text of the training data. Their moments are zeros, and
AdamW does nothing to them but decay. Here they have no moments: less memory, and a step that reads a
fraction of the table. The weights are those of `torch.optim.AdamW` (Loshchilov and Hutter,
arXiv:1711.05101, algorithm 2), in its own arithmetic.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from .table_memory import TableEmbedding, TableMemory

LARGEST_SHARE = 1 / 3
"""With more of its rows in use, a table gets moments for all: it would take more time than they do."""
_MOMENTS = ("exp_avg", "exp_avg_sq")
_PLAIN_STEP = inspect.unwrap(torch.optim.AdamW.step)
"""Without the hooks of an optimizer, which belong to the whole step."""
BLOCK = 512
"""Rows that are updated at a time: their weights, moments and gradients fit a second-level cache."""


class TableAdamW(torch.optim.AdamW):
    """AdamW over all parameters; the tables' moments grow with the rows in use.

    In memory, the state of such a table has ``rows`` (R), the words' ids, -1 where there is room for another,
    and the moments ``(R, D)``. `state_dict` has the moments of all rows, as that of `torch.optim.AdamW`, so
    that a run can be continued on other devices and by more processes.

    Args:
        params: parameters or groups, as for `torch.optim.AdamW`.
        tables: from `debertav3.cpu.table_memory.keep_word_gradients`.
        options: of `torch.optim.AdamW`, without ``amsgrad``.
    """

    def __init__(self, params: ParamsT, *, tables: Sequence[TableEmbedding], **options: Any) -> None:
        super().__init__(params, **options)
        self._memories = {id(table.weight): table.table_memory for table in tables}
        self._whole: dict[int, Tensor] = {}
        """First moments that are kept for all rows, by the ``id`` of their table."""
        self.register_state_dict_post_hook(with_whole_moments)

    def __setstate__(self, state: dict[str, object]) -> None:
        """What is loaded, or a copy, whose weights are others: it goes on with what has moments by row."""
        super().__setstate__(state)
        if "_memories" not in self.__dict__:
            self._memories, self._whole = {}, {}
            self.register_state_dict_post_hook(with_whole_moments)

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
                state = self.state.get(weight, {})
                is_table = id(weight) in self._memories or "rows" in state
                if weight.grad is not None and is_table and self._make_room(weight, self.state[weight]):
                    _update_rows(weight, self.state[weight], group)
                    done.append((weight, weight.grad))
                    weight.grad = None  # so that the rest of the step leaves it as it is
        _PLAIN_STEP(self)
        for weight, gradient in done:
            weight.grad = gradient
        return loss

    def _make_room(self, weight: nn.Parameter, state: dict[str, Tensor]) -> bool:
        """Give each row that has a gradient its moments; False if all rows have them."""
        most = int(LARGEST_SHARE * len(weight))
        if not state:
            state["step"] = torch.tensor(0.0)
            _keep_rows(state, torch.empty(0, dtype=torch.int64), like=weight)
        elif "rows" not in state:
            if state["exp_avg"] is self._whole.get(id(weight)):
                return False
            used = (state["exp_avg"].any(1) | state["exp_avg_sq"].any(1)).nonzero().squeeze(1)
            if len(used) > most:
                self._whole[id(weight)] = state["exp_avg"]
                return False
            _keep_rows(state, used, like=weight)
        rows = state["rows"]
        new = _touched(weight, self._memories.get(id(weight)))
        is_new = torch.ones(len(weight), dtype=torch.bool)
        is_new[rows[rows >= 0]] = False
        new = new[is_new[new]]
        used_before = int((rows >= 0).sum())
        count = used_before + len(new)
        if count > most:
            state.update(_whole_moments(state, len(weight)))
            del state["rows"]
            self._whole[id(weight)] = state["exp_avg"]
            return False
        if count > len(rows):
            more = count + count // 4 - len(rows)
            state["rows"] = rows = torch.cat([rows, rows.new_full((more,), -1)])
            for name in _MOMENTS:
                state[name] = torch.cat([state[name], weight.new_zeros(more, weight.shape[1])])
        rows[used_before:count] = new
        return True


def with_whole_moments(
    optimizer: torch.optim.Optimizer, found: dict[str, dict[int, dict[str, Tensor]]]
) -> dict[str, dict[int, dict[str, Tensor]]]:
    """For `torch.optim.Optimizer.register_state_dict_post_hook`: moments of all rows of each table."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, state in found["state"].items():
        if "rows" in state:
            whole = _whole_moments(state, len(weights[number]))
            found["state"][number] = {"step": state["step"], **whole}
    return found


def _touched(weight: nn.Parameter, memory: TableMemory | None) -> Tensor:
    """Rows that have a gradient."""
    assert weight.grad is not None, "only tables with a gradient come here"
    known = None if memory is None else memory.touched(weight)
    return weight.grad.any(1).nonzero().squeeze(1) if known is None else known


def _keep_rows(state: dict[str, Tensor], rows: Tensor, *, like: Tensor) -> None:
    """From here on the state has moments of these rows only."""
    for name in _MOMENTS:
        state[name] = state[name][rows] if name in state else like.new_empty(0, like.shape[1])
    state["rows"] = rows


def _whole_moments(state: dict[str, Tensor], num_rows: int) -> dict[str, Tensor]:
    rows = state["rows"]
    rows, whole = rows[rows >= 0], {}
    for name in _MOMENTS:
        whole[name] = state[name].new_zeros(num_rows, state[name].shape[1])
        whole[name][rows] = state[name][: len(rows)]
    return whole


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
