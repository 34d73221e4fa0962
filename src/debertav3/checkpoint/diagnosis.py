"""What the checkpoint doctor finds."""

from dataclasses import asdict, dataclass, field

from .sanity import TableLook


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that makes answers wrong or impossible."""

    what: str
    remedy: str


@dataclass(slots=True)
class Diagnosis:
    """Everything that the doctor found. Without faults the checkpoint can be used as it is."""

    path: str
    family: str
    size: str | None
    """A preset's name; ``None`` for a size of its own."""
    heads: list[str] = field(default_factory=list)
    parameters: int = 0
    """Numbers in the weight files."""
    dtypes: dict[str, int] = field(default_factory=dict)
    """Numbers by stored dtype."""
    labels: list[str] | None = None
    """Class names in order; ``None`` where there is no classifier."""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    embeddings: TableLook | None = None
    relative_row_zero: float | None = None
    """Norm of row 0 of the relative table over the median row's."""
    tokenizer: str | None = None
    tokenizer_size: int | None = None
    notes: list[str] = field(default_factory=list)
    """Worth knowing, and no fault."""
    faults: list[Fault] = field(default_factory=list)

    def add_fault(self, what: str, remedy: str) -> None:
        """Note a fault, and what to do about it."""
        self.faults.append(Fault(what, remedy))

    @property
    def is_ok(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values, with ``ok``."""
        look = self.embeddings.to_dict() if self.embeddings else None
        return {"ok": self.is_ok, **asdict(self), "embeddings": look}
