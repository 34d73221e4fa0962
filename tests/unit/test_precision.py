"""Contract: what "auto" means for a device follows what the device says of itself."""

from types import SimpleNamespace

import pytest
import torch

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.prepared_run import _with_precision
from debertav3.models.precision import multiplies_bf16
from debertav3.pretrain.run import choose_precision


def answer(monkeypatch: pytest.MonkeyPatch, device: str, says: bool) -> None:
    probe = SimpleNamespace(is_bf16_supported=lambda *, including_emulation=False: says)
    monkeypatch.setattr(torch, device, probe, raising=False)


@pytest.mark.parametrize("device", ["cuda", "xpu", "npu"])
@pytest.mark.parametrize("says", [True, False])
def test_a_device_is_asked_itself(device: str, says: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, device, says)
    assert multiplies_bf16(device) is says


@pytest.mark.parametrize("has_units", [True, False])
def test_a_cpu_needs_units_for_it(has_units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_units)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert multiplies_bf16("cpu") is has_units
    assert choose_precision("auto", "cpu") == ("bf16" if has_units else "no")


def test_auto_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cuda", "npu"):
        answer(monkeypatch, device, False)
    assert choose_precision("auto", "cuda") == "fp16"
    assert choose_precision("auto", "npu") == "no"
    assert choose_precision("auto", "mps") == "no"


@pytest.mark.parametrize(("wanted", "word"), [("fp32", "no"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_what_is_asked_for_is_taken(wanted: str, word: str) -> None:
    assert choose_precision(wanted, "cuda") == word


def test_fp16_on_a_cpu_is_refused_by_both_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    for train in (
        lambda: choose_precision("fp16", "cpu"),
        lambda: _with_precision(FinetuneConfig.of(task="nli", model="nano", precision="fp16")),
    ):
        with pytest.raises(UserError, match=r"precision=fp16 needs an accelerator .* use bf16, fp32 or auto"):
            train()
