"""Probes while a run trains: how good its encoder is so far, measured on copies.

A probe touches neither weights nor random numbers of the run, so a run with probes equals one without, bit
for bit. Every probe of a run has the same rows, seeds and number of steps, so its figures may be compared.

- ``probe_linear_NAME``: accuracy of a logistic regression on frozen features, the mean of the last hidden
  states.
- ``probe_finetuned_NAME``: accuracy of a copy after a short fine-tuning.
- ``probe_pairs_NAME``: share of minimal pairs whose good sentence has the higher score, the sum over its
  tokens of the log-probability of each when it alone is masked (Salazar et al. 2020, arXiv:1910.14659).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DebertaV2Config, PreTrainedModel

from ..errors import UserError
from ..models import DebertaV2ForSequenceClassification
from ..tasks.example import Example
from ..tokenization import DebertaV3Tokenizer
from .networks import Networks, finished_models
from .probe_data import LabelledProbe, PairsProbe, Probe, read_probes
from .settings import PretrainConfig, ProbeConfig

Item = TypeVar("Item")

_ROWS = 64
"""Rows of one forward pass that needs no gradients."""
_PENALTY = 1e-2
_ITERATIONS = 100
_WARMUP = 0.1
_SEED = 1


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Within the block random numbers are drawn as ever; after it they go on as if there had been none."""
    kind = device.type
    with torch.random.fork_rng(
        devices=[] if kind == "cpu" else [device], device_type="cuda" if kind == "cpu" else kind
    ):
        yield


class Probes:
    """The probes of a run.

    Args:
        probes: their data.
        config: how they are run.
        tokenizer: of the run.
        device: where they run.

    Raises:
        UserError: if a sentence of a minimal pair is longer than ``probe_max_length``.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        config: ProbeConfig,
        tokenizer: DebertaV3Tokenizer,
        device: torch.device,
    ) -> None:
        self.probes = probes
        self.config = config
        self.tokenizer = tokenizer
        self.device = device
        for probe in probes:
            if isinstance(probe, PairsProbe):
                self._check_length(probe)

    def _check_length(self, probe: PairsProbe) -> None:
        for sentence in (one for pair in probe.pairs for one in pair):
            if len(self.tokenizer(sentence)["input_ids"]) > self.config.max_length:
                raise UserError(
                    f"--probe-data: a sentence of {probe.name} has more than {self.config.max_length} "
                    f"tokens: raise probe_max_length, or leave out {sentence[:60]!r}"
                )

    def run(self, models: Mapping[str, PreTrainedModel]) -> dict[str, float]:
        """Run all of them, within `random_numbers_kept`.

        Args:
            models: copies of the networks by name, as they would be exported: ``encoder`` and ``generator``.

        Returns:
            Figures by name, and ``probe_seconds``, what they took.
        """
        started = time.perf_counter()
        figures: dict[str, float] = {}
        for network in models.values():
            network.eval()
            nn.Module.to(network, self.device)
        for probe in self.probes:
            if isinstance(probe, PairsProbe):
                figures[f"probe_pairs_{probe.name}"] = self._pairs(probe, models["generator"])
                continue
            figures[f"probe_commonest_{probe.name}"] = probe.commonest_share
            figures[f"probe_linear_{probe.name}"] = self._linear(probe, models["encoder"])
            if self.config.finetune_steps:
                figures[f"probe_finetuned_{probe.name}"] = self._finetuned(probe, models["encoder"])
        return {**figures, "probe_seconds": time.perf_counter() - started}

    def _encoded(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        columns = [list(texts) for texts in zip(*(example.texts for example in examples), strict=True)]
        encoded = self.tokenizer(
            *columns, truncation=True, max_length=self.config.max_length, padding=True, return_tensors="pt"
        )
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def _targets(self, probe: LabelledProbe, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([probe.labels.index(str(example.label)) for example in examples])

    @torch.no_grad()
    def _features(self, encoder: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
        """Mean of the last hidden states of each input, ``(N, D)`` float64 on the CPU."""
        found = []
        for batch in _chunks(examples, _ROWS):
            inputs = self._encoded(batch)
            states = encoder(**inputs).last_hidden_state.float()
            real = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
            found.append((states * real).sum(1) / real.sum(1))
        return torch.cat(found).double().cpu()

    def _linear(self, probe: LabelledProbe, encoder: PreTrainedModel) -> float:
        train, dev = (self._features(encoder, side) for side in (probe.train, probe.dev))
        mean, deviation = train.mean(0), train.std(0, unbiased=False).clamp_min(1e-8)
        train, dev = (train - mean) / deviation, (dev - mean) / deviation
        answers = logistic_regression(train, self._targets(probe, probe.train), len(probe.labels))(dev)
        return float((answers.argmax(-1) == self._targets(probe, probe.dev)).double().mean())

    def _finetuned(self, probe: LabelledProbe, encoder: PreTrainedModel) -> float:
        torch.manual_seed(_SEED)
        config = DebertaV2Config(**{**encoder.config.to_dict(), "num_labels": len(probe.labels)})
        model = DebertaV2ForSequenceClassification(config)
        missing, _ = model.deberta.load_state_dict(encoder.state_dict(), strict=False)
        assert not missing, missing  # absolute positions may be left over
        nn.Module.to(model, self.device).train()
        steps, warmup = self.config.finetune_steps, max(1, int(_WARMUP * self.config.finetune_steps))
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.config.learning_rate, weight_decay=0.01)
        for step, indices in zip(range(steps), self._orders(len(probe.train)), strict=False):
            examples = [probe.train[index] for index in indices]
            rate = min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * rate
            logits = model(**self._encoded(examples)).logits.float()
            F.cross_entropy(logits, self._targets(probe, examples).to(self.device)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in _chunks(probe.dev, _ROWS):
                answers = model(**self._encoded(batch)).logits.argmax(-1).cpu()
                right += int((answers == self._targets(probe, batch)).sum())
        return right / len(probe.dev)

    def _orders(self, number: int) -> Iterator[list[int]]:
        """Batches of indices without end, every index once before any comes again."""
        draw = torch.Generator().manual_seed(_SEED)
        left: list[int] = []
        while True:
            while len(left) < self.config.batch_size:
                left += torch.randperm(number, generator=draw).tolist()
            yield left[: self.config.batch_size]
            left = left[self.config.batch_size :]

    def _pairs(self, probe: PairsProbe, generator: PreTrainedModel) -> float:
        scores = self._scores(generator, [sentence for pair in probe.pairs for sentence in pair])
        return sum(good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True)) / len(probe.pairs)

    @torch.no_grad()
    def _scores(self, generator: PreTrainedModel, sentences: Sequence[str]) -> list[float]:
        """Pseudo-log-likelihood of each sentence."""
        special = {self.tokenizer.cls_token_id, self.tokenizer.sep_token_id}
        encoded = [self.tokenizer(sentence)["input_ids"] for sentence in sentences]
        rows = [
            (number, place)
            for number, ids in enumerate(encoded)
            for place, token in enumerate(ids)
            if token not in special
        ]
        scores = [0.0] * len(sentences)
        for batch in _chunks(rows, _ROWS):
            length = max(len(encoded[number]) for number, _ in batch)
            ids = torch.full((len(batch), length), self.tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, (number, _) in enumerate(batch):
                ids[row, : len(encoded[number])] = torch.tensor(encoded[number])
                mask[row, : len(encoded[number])] = 1
            places = torch.tensor([[place] for _, place in batch])
            wanted = ids.gather(1, places)
            ids.scatter_(1, places, self.tokenizer.mask_token_id)
            logits = generator(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                masked_positions=places.to(self.device),
            ).logits
            likely = logits.double().cpu().log_softmax(-1).gather(-1, wanted.unsqueeze(-1)).flatten()
            for (number, _), value in zip(batch, likely.tolist(), strict=True):
                scores[number] += value
        return scores


def probe_when_due(
    config: PretrainConfig, networks: Networks, tokenizer: DebertaV3Tokenizer, accelerator: Accelerator
) -> Callable[[int], dict[str, float] | None]:
    """The probes of a run by the number of steps done, None where none are due.

    Call what is returned in every process: the first runs the probes while the others wait.

    Raises:
        UserError: if the probe data cannot be used.
    """
    settings = config.probes
    probes = None
    if settings.data and accelerator.is_main_process:
        read = read_probes(settings.data, rows=settings.rows)
        probes = Probes(read, settings, tokenizer, accelerator.device)

    def probe(done: int) -> dict[str, float] | None:
        is_due = done % settings.every_steps == 0 or done == config.loop.max_steps
        if not settings.data or not is_due:
            return None
        figures: dict[str, float] = {}
        if probes is not None or config.compute.shard_weights:
            with random_numbers_kept(accelerator.device):
                models = finished_models(networks)
                figures = {} if probes is None else probes.run(models)
        accelerator.wait_for_everyone()
        return figures

    return probe


def logistic_regression(features: Tensor, targets: Tensor, num_labels: int) -> nn.Linear:
    """Fit a linear map by L-BFGS from zero, with a small penalty on its weights; no random numbers.

    Args:
        features: ``(N, D)`` float64.
        targets: ``(N,)`` int64.
        num_labels: how many there are.
    """
    linear = nn.utils.skip_init(nn.Linear, features.shape[1], num_labels, dtype=features.dtype)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(linear(features), targets) + _PENALTY * linear.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return linear.requires_grad_(False)


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
