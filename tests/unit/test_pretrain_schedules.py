"""Contract: learning rates, mask rates and phases are arithmetic on the step; what cannot be is refused."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.pretrain.batches import Share
from debertav3.pretrain.phases import MaskingChoice, PhaseConfig, plan
from debertav3.pretrain.schedules import PretrainOptimizerConfig, learning_rate, stable_steps
from debertav3.pretrain.settings import recipe

SCHEDULES = st.sampled_from(["linear", "wsd", "cosine"])


def rates(num_steps: int, **values: Any) -> list[float]:
    config = PretrainOptimizerConfig(learning_rate=2.0, **values)
    return [learning_rate(config, step, num_steps) for step in range(num_steps)]


@settings(max_examples=200, deadline=None)
@given(SCHEDULES, st.integers(1, 300), st.data())
def test_rates_rise_over_the_warm_up_and_never_after_it(
    schedule: str, num_steps: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, num_steps - 1))
    more: dict[str, Any] = {}
    if schedule == "wsd":
        more["decay_steps"] = data.draw(st.integers(0, num_steps - warmup).filter(lambda steps: steps != 1))
        more["decay_shape"] = data.draw(st.sampled_from(["sqrt", "linear"]))
    found = rates(num_steps, schedule=schedule, warmup_steps=warmup, **more)
    assert all(0 < rate <= 2.0 for rate in found)
    assert found[:warmup] == [2.0 * (step + 1) / warmup for step in range(warmup)]
    assert found[warmup] == 2.0  # no jump where the warm-up ends
    assert all(a >= b for a, b in itertools.pairwise(found[warmup:]))
    if schedule == "wsd":
        stable = num_steps - more["decay_steps"]
        assert found[warmup:stable] == [2.0] * (stable - warmup)
        assert len(set(found[stable:])) == num_steps - stable  # strictly falling


def test_the_shapes_are_those_of_the_papers() -> None:
    assert rates(8, schedule="wsd", warmup_steps=0, decay_steps=4) == [
        *[2.0] * 4,
        *[2 * (1 - math.sqrt(t / 4)) for t in range(4)],
    ]
    assert rates(8, schedule="wsd", warmup_steps=0, decay_steps=4, decay_shape="linear")[4:] == [
        2.0, 1.5, 1.0, 0.5,
    ]  # fmt: skip
    assert rates(4, schedule="cosine", warmup_steps=0) == pytest.approx(
        [2.0, 1 + math.cos(math.pi / 4), 1.0, 1 - math.cos(math.pi / 4)]
    )


def test_a_share_of_the_run_is_a_number_of_steps() -> None:
    config = PretrainOptimizerConfig(schedule="wsd", warmup_steps=0.1, decay_steps=0.2)
    assert stable_steps(config, 50) == 40
    assert learning_rate(config, 4, 50) == config.learning_rate > learning_rate(config, 3, 50)
    assert stable_steps(PretrainOptimizerConfig(schedule="wsd"), 50) == 45
    assert recipe("nano").changed(schedule="wsd", max_steps=1000, decay_steps=0).stable_steps == 1000
    assert recipe("nano").stable_steps is None


@settings(deadline=None)
@given(st.integers(2, 500), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_linear_mask_rate_goes_from_one_end_to_the_other(num_steps: int, first: float, last: float) -> None:
    masking = MaskingChoice(mask_schedule="linear", mask_prob=first, mask_prob_end=last)
    found = [masking.at(step, num_steps) for step in range(num_steps)]
    assert found[0] == first and found[-1] == pytest.approx(last)
    assert all(min(first, last) - 1e-12 <= rate <= max(first, last) + 1e-12 for rate in found)
    assert found == sorted(found, reverse=first > last)


def test_a_piecewise_mask_rate_changes_at_its_steps() -> None:
    masking = MaskingChoice(mask_schedule="piecewise", mask_prob=0.3, mask_points=("5:0.15", "8:0.05"))
    assert [masking.at(step, 10) for step in range(10)] == [0.3] * 5 + [0.15] * 3 + [0.05] * 2


def phases_of(steps: list[int], batches: list[int]) -> Any:
    given_phases = [PhaseConfig(steps=n, batch_size=b) for n, b in zip(steps, batches, strict=True)]
    return plan(
        given_phases,
        masking=MaskingChoice(),
        max_steps=sum(steps),
        batch_size=8,
        micro_batch_size=3,
        max_length=32,
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5),
    st.sampled_from([1, 2, 4]),
)
def test_phases_switch_at_exact_samples_for_any_number_of_processes(
    shape: list[tuple[int, int]], processes: int
) -> None:
    found = phases_of([steps for steps, _ in shape], [4 * batch for _, batch in shape])
    seen: list[int] = []
    for step in range(found.num_steps):
        phase = found.phase(step)
        assert phase.first_step <= step < phase.last_step
        for rank in range(processes):
            share = Share(
                batch_size=phase.batch_size, micro_batch_size=phase.micro_batch_size, rank=rank,
                world_size=processes, first_step=phase.first_step, first_sample=phase.first_sample,
            )  # fmt: skip
            seen += [index for part in share.indices(step) for index in part]
        assert found.tokens(step + 1) == 32 * len(seen)
    assert seen == list(range(sum(4 * steps * batch for steps, batch in shape)))


def test_the_mask_rate_of_a_phase_counts_before_that_of_the_run() -> None:
    config = recipe("nano").with_overrides(
        [
            "max_steps=9", "warmup_steps=1", "mask_schedule=linear", "mask_prob=0.4", "mask_prob_end=0.2",
            "phases=[{steps: 3}, {steps: 3, mask_prob: 0.1}, {mask_prob: 0.3, mask_prob_end: 0.1}]",
        ]
    )  # fmt: skip
    found = [config.plan.mask_prob(step) for step in range(9)]
    assert found == pytest.approx([0.4, 0.375, 0.35, 0.1, 0.1, 0.1, 0.3, 0.2, 0.1])


def test_settings_with_phases_are_written_and_read_back() -> None:
    config = recipe("nano").with_overrides(
        ["max_steps=9", "phases=[{steps: 3, data: [a, b], weights: [3, 0.5]}, {max_length: 256}]"]
    )
    again = recipe("nano").with_values(config.to_dict(), source="test")
    assert again == config and again.phases[0].weights == (3.0, 0.5)
    assert config.plan.max_length == 256
    moved = config.with_values(
        {"phases": [{"steps": 3, "data": ["c", "d"], "weights": [3, 0.5]}, {"max_length": 256}]},
        source="test",
    )
    assert moved.identity() == config.identity()  # folders are known by content


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["decay_steps=5"], "needs schedule=wsd, and the schedule is linear"),
        (["schedule=wsd", "decay_steps=1"], "decay_steps=1 decays nothing"),
        (["discriminator_learning_rate=1e-4", "mode=joint"], "needs objective=rtd and mode=two-phase"),
        (["discriminator_learning_rate=1e-4", "objective=mlm"], "needs objective=rtd and mode=two-phase"),
        (["schedule=wsd", "decay_steps=19900"], "of 400 and the decay of 19,900 steps do not fit"),
        (["schedule=warp"], "It must be one of linear, wsd, cosine"),
        (["optimizer=lion"], "It must be one of adamw, muon"),
        (["optimizer=muon", "shard_weights=true"], "muon needs whole matrices"),
        (["mask_schedule=linear"], "mask_schedule=linear needs mask_prob_end"),
        (["mask_prob_end=0.1"], "mask_schedule=constant needs no mask_prob_end: set mask_schedule=linear"),
        (["mask_schedule=piecewise"], "needs mask_points"),
        (["mask_schedule=piecewise", "mask_points=[5]"], "needs STEP:SHARE"),
        (["mask_schedule=piecewise", "mask_points=[5:0.7]"], "must be above 0 and at most 0.5"),
        (["mask_schedule=piecewise", "mask_points=[9:0.2,5:0.1]"], "must increase from 1; got 9, 5"),
        (["mask_schedule=piecewise", "mask_points=[20000:0.2]"], "names step 20,000 of a run of 20,000"),
        (["phases=[{steps: 5}]"], "have 5 steps together and max_steps is 20,000. Set max_steps=5, or leave"),
        (["phases=[{steps: 20000}, {}]"], "The last phase would have none: set max_steps higher"),
        (["phases=[{}, {steps: 5}]"], "phase 1 of 2 needs steps"),
        (["phases=[{steps: 5}, {stepz: 5}]"], "phases, number 2: unknown key 'stepz'. Did you mean 'steps'?"),
        (["phases=[{steps: many}, {}]"], "--set: phases, number 1: steps must be an integer of at least 1"),
        (["phases=[3]"], "number 1 must be a mapping with keys such as steps and data"),
        (["phases=3"], "phases must be a list of mappings with keys such as steps and data; got '3'"),
        (["phases=[{data: [a], weights: [1, 2]}]"], "has 1 folders and 2 weights"),
        (["phases=[{data: [a], weights: [none]}]"], "weights, number 1 must be a number; got 'none'"),
        (["phases=[{data: [a, b], weights: [1, -2]}]"], "must be above 0; got [1.0, -2.0]"),
        (["phases=[{data: [a, a]}]"], "names a folder twice"),
        (["phases=[{mask_prob_end: 0.1}]"], "needs mask_prob"),
        (["mean_last=50", "mean_every_steps=500"], "mean_last=50 points 500 steps apart do not fit"),
        (["ema_decay=1"], "It must be a number above 0 and below 1"),
        (["probe_rows=0"], "must be an integer of at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(assignments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe("nano").with_overrides(assignments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
