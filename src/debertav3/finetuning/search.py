"""Search of settings with optuna: the papers' grid or one's own, every trial an ordinary run, resumable.

The study is a file of lines beside the trials. If interrupted, run the same command to continue: a trial that
has begun is finished first, under its own number, from its newest checkpoint.
"""

import itertools
import json
import logging
import math
import shutil
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DivergedError, MissingExtraError, UserError
from ..files import read_json_object, replacing_text, write_json
from ..json_types import JsonMapping, JsonObject
from ..processes import need_one_process
from ..runs.record import has_record
from ..runs.settings import settings_of
from .config import FinetuneConfig, OptimizerConfig
from .preparation import read_data, size_of
from .recipes import recipe
from .records import changed_settings, changes_between, data_facts, known_by_path, run_contents
from .resuming import check_can_be_made
from .start import Start

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

Choice = bool | int | float | str | None
Grid = dict[str, list[Choice]]

_FOLDER = "folder"
"""Attribute of a trial in the study: the folder that the search made for it, and may remove."""

_RATES: dict[str, list[float]] = {
    # arXiv:2006.03654, table 9; arXiv:2111.09543, table 15, lists no others.
    "base": [1.5e-5, 2e-5, 3e-5, 4e-5],
    "large": [5e-6, 8e-6, 9e-6, 1e-5],
}
_RATE_FACTORS = (0.5, 0.75, 1.0, 1.5)
"""For sizes without a published list: shares of the size's own learning rate."""


def paper_grid(model: str) -> Grid:
    """Return the grid of the papers (arXiv:2006.03654, table 9, and arXiv:2111.09543, table 15).

    Args:
        model: a size, folder or Hub name, which decides about the learning rates.
    """
    size = size_of(model)
    usual = recipe(size, "").get("learning_rate", OptimizerConfig().learning_rate)
    rates = _RATES.get(size or "", [float(f"{usual * factor:.3g}") for factor in _RATE_FACTORS])
    return {
        "learning_rate": list(rates),
        "batch_size": [16, 32, 48, 64],
        "warmup_steps": [50, 100, 500, 1000],
        "classifier_dropout": [0.0, 0.1, 0.15, 0.3],
    }


def read_grid(assignments: Sequence[str], base: FinetuneConfig) -> Grid:
    """Read ``key=value,value,...`` texts.

    Args:
        assignments: the texts.
        base: by which keys and values are checked.

    Raises:
        UserError: for an unknown key, or a value of a wrong kind.
    """
    grid: Grid = {}
    for assignment in assignments:
        key, equals, values = assignment.partition("=")
        tried = [
            base.with_overrides([f"{key}{equals}{value}"], source="--grid") for value in values.split(",")
        ]
        short = settings_of(FinetuneConfig)[key.strip()].short
        grid[short] = [config.get(short) for config in tried]
    return grid


def search(
    base: FinetuneConfig,
    grid: Mapping[str, Sequence[Choice]],
    out: Path,
    *,
    trials: int,
    start: Start | None = None,
) -> list[dict[str, object]]:
    """Try ``trials`` different settings, or all that the grid has; earlier trials under ``out`` count.

    The sampler is optuna's tree of Parzen estimators, seeded by ``base.seed``. What it draws a second time
    gives way to a neighbour that is untried. A training that diverges is a failed trial, which has no score.
    Only the folder of the best trial so far is kept.

    Args:
        base: what all trials share.
        grid: values to try, by key.
        out: gets ``study.log``, a folder for the best trial, ``search.json`` and ``search.md``.
        trials: how many in all.
        start: the model of ``base``, if it is found already.

    Returns:
        A row for each trial with a score, best first: ``trial``, ``score`` and ``settings``.

    Raises:
        UserError: if there is no dev set, the folder holds a search of another grid, other settings, data or
            weights, or all trials failed.
        MissingExtraError: without optuna.
    """
    need_one_process("search")
    if not base.data.dev and base.data.dev_split is None:
        raise UserError("nothing to score on: give --dev FILE, or --dev-split 0.1.")
    check_can_be_made(out)
    foreign = [name for name in ("search.json", "search.md") if (out / name).exists()]
    if foreign and not (out / "study.log").exists():
        raise UserError(
            f"{out / foreign[0]} is not part of a search: there is no study.log. Choose another --out."
        )
    contents = run_contents(base, data_facts(read_data(base, is_logged=False)))
    study = _open_study(base, grid, out, contents=contents)
    grid = {key: list(dict.fromkeys(values)) for key, values in grid.items()}
    wanted = min(trials, math.prod(map(len, grid.values())))
    while True:
        tried = len(_scores(study))
        trial = next((trial for trial in study.trials if not trial.state.is_finished()), None)
        if trial is None and tried >= wanted:
            break
        trial = trial or _begin(study, grid, out, seed=base.seed)
        folder = out / f"trial-{trial.number}"
        _tell_score(
            study,
            trial.number,
            _score_of(base, trial.params, folder, known=_scores(study), contents=contents, start=start),
        )
        rows = _rows(study)
        _remove_worse(study, out, best=rows[0]["trial"] if rows else None)
        _write(rows, _diverged(study), list(grid), out)
    rows = _rows(study)
    _write(rows, _diverged(study), list(grid), out)
    if tried < trials:
        logger.info("all %d settings of the grid have been tried; there is nothing left for --trials", tried)
    if not rows:
        raise UserError(
            f"none of the settings tried ({tried}) has a score: all diverged. Use lower "
            "learning rates, and another folder."
        )
    return rows


def _open_study(
    base: FinetuneConfig, grid: Mapping[str, Sequence[Choice]], out: Path, *, contents: JsonMapping
) -> "optuna.Study":
    """Open or begin the study of a folder.

    Raises:
        UserError: if it is of another grid, other settings, or by content other data or weights.
        MissingExtraError: without optuna.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtraError(feature="debertav3 search", package="optuna", extra="search") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(out / "study.log")))
    study = optuna.create_study(
        study_name="search", storage=storage, direction="maximize", load_if_exists=True
    )
    made = json.loads(study.user_attrs.get("made", "null"))
    if made is not None:
        known = study.user_attrs.get("contents", {})
        changed = changed_settings(made["base"], base, by_path=known_by_path(known, contents))
        changed += ["--grid"] if made["grid"] != json.loads(json.dumps(_lists(grid))) else []
        changed += changes_between(known, contents)
        if changed:
            raise UserError(
                f"--out {out} holds the search of another {', '.join(changed)}: scores would "
                "not be comparable. Choose another folder."
            )
        if not known:
            logger.warning(
                "%s was started by an older version, which did not record checksums of data "
                "and model: whether they have changed is unknown.",
                out,
            )
        return study
    study.set_user_attr("made", json.dumps({"base": base.to_dict(), "grid": _lists(grid)}))
    study.set_user_attr("contents", dict(contents))
    return study


def _lists(grid: Mapping[str, Sequence[Choice]]) -> dict[str, list[Choice]]:
    return {key: list(values) for key, values in grid.items()}


def _begin(
    study: "optuna.Study", grid: Mapping[str, Sequence[Choice]], out: Path, *, seed: int
) -> "optuna.trial.FrozenTrial":
    """Add a trial of untried settings to the study, in one line of its file, and return it.

    Raises:
        UserError: if its folder is there already, and so is not this search's.
    """
    import optuna

    folder = out / f"trial-{len(study.trials)}"
    if folder.exists():
        raise UserError(f"{folder} is not part of this search; move it, or choose another --out.")

    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.CategoricalDistribution(tuple(values)) for key, values in grid.items()
    }
    # Drawn from a copy, since what a study has drawn stays in it.
    sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    draft = optuna.create_study(direction="maximize", sampler=sampler)
    draft.add_trials(study.trials)
    drawn = draft.ask(distributions).params
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=_nearest_untried(drawn, grid, known=_scores(study)),
            distributions=distributions,
            user_attrs={_FOLDER: folder.name},
        )
    )
    return study.trials[-1]


def _nearest_untried(
    drawn: Mapping[str, Choice], grid: Mapping[str, Sequence[Choice]], *, known: Container[str]
) -> dict[str, Choice]:
    """What was drawn, or of the untried settings of the grid the first that differs in the fewest keys."""
    if _key(drawn) not in known:
        return dict(drawn)
    settings = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    untried = (one for one in settings if _key(one) not in known)
    return min(untried, key=lambda one: sum(one[key] != drawn[key] for key in grid))


def _score_of(
    base: FinetuneConfig,
    chosen: Mapping[str, object],
    folder: Path,
    *,
    known: Mapping[str, float | None],
    contents: Mapping[str, object],
    start: Start | None,
) -> float | None:
    """Train with the chosen settings, or resume that, unless the score is known already.

    Returns:
        The score that selects the best checkpoint, on the first dev set; None if the training diverged.
    """
    if _key(chosen) in known:
        return known[_key(chosen)]
    from .run import run

    config = base.with_values(chosen, source="search")
    data = read_data(config, is_logged=False)
    now = run_contents(config, data_facts(data))
    if changed := changes_between(contents, {key: now[key] for key in now if key not in chosen}):
        raise UserError(f"{', '.join(changed)} changed during the search; start it again in another folder.")
    logger.info("%s: %s", folder.name, _spelled(chosen))
    try:
        if config.model != base.model:
            start = None
        if not has_record(folder) and (
            run(config, data, folder, start=start, resume=folder.exists()) is None
        ):
            raise UserError("stopped; run the same command to continue.")
    except DivergedError as error:
        logger.warning("%s failed: %s", folder.name, error)
        return None
    report = read_json_object(folder / "metrics.json", needs=(data.task.best_metric,))
    score: float | None = report[data.task.best_metric]
    return score


def _tell_score(study: "optuna.Study", number: int, score: float | None) -> None:
    from optuna.trial import TrialState

    study.tell(number, score, state=TrialState.FAIL if score is None else TrialState.COMPLETE)


def _key(chosen: Mapping[str, object]) -> str:
    return json.dumps(chosen, sort_keys=True)


def _scores(study: "optuna.Study") -> dict[str, float | None]:
    """The score of each setting that has been tried, None if its training diverged."""
    return {_key(trial.params): trial.value for trial in study.trials if trial.state.is_finished()}


def _diverged(study: "optuna.Study") -> list[JsonObject]:
    failed = [one for one in study.trials if one.state.is_finished() and one.value is None]
    return [{"trial": one.number, "settings": dict(one.params)} for one in failed]


def _rows(study: "optuna.Study") -> list[JsonObject]:
    """Finished trials, best first; of equal ones the earlier."""
    done = [trial for trial in study.trials if trial.value is not None]
    done.sort(key=lambda trial: (-(trial.value or 0.0), trial.number))
    return [{"trial": one.number, "score": one.value, "settings": dict(one.params)} for one in done]


def _remove_worse(study: "optuna.Study", out: Path, *, best: int | None) -> None:
    """Remove the folders that the study's record names as its own, but for the best trial's."""
    for trial in study.trials:
        name = trial.user_attrs.get(_FOLDER)
        if name is not None and trial.state.is_finished() and trial.number != best:
            shutil.rmtree(out / name, ignore_errors=True)


def _spelled(chosen: Mapping[str, object]) -> str:
    return " ".join(f"--set {key}={value}" for key, value in chosen.items())


def _write(
    rows: Sequence[JsonMapping],
    diverged: Sequence[JsonMapping],
    keys: Sequence[str],
    out: Path,
) -> None:
    found = {"best": rows[0] if rows else None, "trials": list(rows), "diverged": list(diverged)}
    write_json(out / "search.json", found)
    lines = [f"| trial | score | {' | '.join(keys)} |", "|---:|---:|" + "---:|" * len(keys)]
    for row in rows:
        values = " | ".join(f"{row['settings'][key]}" for key in keys)
        lines.append(f"| {row['trial']} | {row['score']:.4f} | {values} |")
    for row in diverged:
        values = " | ".join(f"{row['settings'][key]}" for key in keys)
        lines.append(f"| {row['trial']} | diverged | {values} |")
    if rows:
        lines += ["", f"Best: `{_spelled(rows[0]['settings'])}` (folder `trial-{rows[0]['trial']}`)"]
    with replacing_text(out / "search.md") as file:
        file.write("\n".join(lines) + "\n")
