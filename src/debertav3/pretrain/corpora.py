"""The shards that a run reads: every folder of every phase, opened before the first step. No torch."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..data.mixture import Mixture
from ..data.samples import MixedData, PretrainingData, open_windows, special_ids, vocabulary_of
from ..data.shards import TokenShards
from ..errors import UserError
from ..files import fingerprint
from ..tokenization import DebertaV3Tokenizer
from .phases import Phase, Plan
from .settings import PretrainConfig

log = logging.getLogger(__name__)


def main_folder(plan: Plan, data: Path | None) -> Path:
    """The folder whose tokenizer and held-out text a run uses: ``--data``, else the first of phase 1.

    Raises:
        UserError: if there is none.
    """
    if data is not None:
        return data
    for number, phase in enumerate(plan.phases, start=1):
        if not phase.data:
            of = f"phase {number} names no data" if len(plan.phases) > 1 else "no data"
            raise UserError(
                f"{of}: give --data SHARDS (a folder of `debertav3 data prepare`) or --data FILE ..."
            )
    return Path(plan.phases[0].data[0])


def check_folders(plan: Plan, data: Path) -> None:
    """Open every folder of every phase, without reading the tokens.

    Args:
        plan: of the run.
        data: from `main_folder`.

    Raises:
        UserError: if one is incomplete, or was prepared with another tokenizer than ``data``.
    """
    for name in dict.fromkeys(name for phase in plan.phases for name in phase.data):
        _open(Path(name), data, verify=False)


def _open(folder: Path, data: Path, *, verify: bool) -> TokenShards:
    shards = TokenShards(folder, verify=verify)
    if folder.resolve() != data.resolve() and fingerprint(folder / "tokenizer") != fingerprint(
        data / "tokenizer"
    ):
        raise UserError(
            f"{folder} was prepared with another tokenizer than {data}: prepare it again with --tokenizer "
            f"{data / 'tokenizer'}"
        )
    return shards


@dataclass
class Corpora:
    """The opened shards of a run.

    Args:
        plan: of the run.
        data: from `main_folder`.
        verify: whether to check the files' checksums; one process per machine is enough.
    """

    plan: Plan
    data: Path
    verify: bool
    main: TokenShards = field(init=False)
    _others: dict[str, TokenShards] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.main = TokenShards(self.data, verify=self.verify)
        for name in dict.fromkeys(name for phase in self.plan.phases for name in phase.data):
            same = Path(name).resolve() == self.data.resolve()
            self._others[name] = self.main if same else _open(Path(name), self.data, verify=self.verify)

    def shards_of(self, phase: Phase) -> list[TokenShards]:
        """The shards of a phase, in order."""
        return [self._others[name] for name in phase.data] or [self.main]

    @property
    def num_tokens(self) -> int:
        """Total number of tokens, each shard counted once."""
        used = {
            shards.folder.resolve(): shards.num_tokens
            for phase in self.plan.phases
            for shards in self.shards_of(phase)
        }
        return sum(used.values())

    def contents(self) -> dict[str, dict[str, str]]:
        """SHA-256 sums of the token files, by phase, for phases that name folders."""
        known: dict[Path, Mapping[str, str]] = {}
        found: dict[str, dict[str, str]] = {}
        for number, phase in enumerate(self.plan.phases, start=1):
            for place, shards in enumerate(self.shards_of(phase) if phase.data else (), start=1):
                sums = known.setdefault(shards.folder.resolve(), {}) or shards.content()
                known[shards.folder.resolve()] = sums
                own = {f"phase {number}, folder {place}: {name}": total for name, total in sums.items()}
                found.setdefault(str(number), {}).update(own)
        return found

    def samples(self, config: PretrainConfig, tokenizer: DebertaV3Tokenizer) -> Iterator[MixedData]:
        """What each phase reads. A folder that is read again at the same length continues where it stopped.

        Raises:
            UserError: if a folder has too little text for one window, a weight is too small, or a phase has
                the same shards twice.
        """
        special, vocabulary = special_ids(tokenizer), vocabulary_of(tokenizer)
        read: dict[tuple[str, int], int] = {}
        opened: dict[tuple[str, int], PretrainingData] = {}
        for number, phase in enumerate(self.plan.phases, start=1):
            keys = [(shards.fingerprint, phase.max_length) for shards in self.shards_of(phase)]
            if len(set(keys)) < len(keys):
                raise UserError(
                    f"phase {number} has the same shards twice: give them once, with a larger weight"
                )
            for key, shards in zip(keys, self.shards_of(phase), strict=True):
                if key not in opened:
                    windows = open_windows(
                        shards, packing=config.data.packing, length=phase.max_length, special=special
                    )
                    opened[key] = PretrainingData(
                        windows, vocabulary, config.masking_config(), seed=config.seed
                    )
            sources = [opened[key] for key in keys]
            weights = phase.weights or [float(len(source)) for source in sources]
            mixture = Mixture(weights, seed=config.seed + number) if len(sources) > 1 else None
            mixed = MixedData(
                sources,
                mixture,
                first_sample=phase.first_sample,
                begins=[read.get(key, 0) for key in keys],
            )
            read |= dict(zip(keys, mixed.ends(phase.num_samples), strict=True))
            yield mixed


def open_heldout(
    config: PretrainConfig, shards: TokenShards, tokenizer: DebertaV3Tokenizer
) -> PretrainingData | None:
    """What a run validates on, always at the run's own length and mask rate; None if there is no text."""
    if shards.num_tokens < config.data.max_length:
        log.warning(
            "%s has no held-out window of %d tokens: nothing to validate on",
            shards.folder,
            config.data.max_length,
        )
        return None
    windows = open_windows(
        shards, packing=config.data.packing, length=config.data.max_length, special=special_ids(tokenizer)
    )
    return PretrainingData(
        windows, vocabulary_of(tokenizer), config.masking_config(), seed=config.seed, shuffled=False
    )
