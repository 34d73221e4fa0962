"""Queries and passages as public sets hold them, as rows of one query, one passage and its relevance.

A folder of BEIR (Thakur et al. 2021): ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``. Triples of
MS MARCO and of sentence-transformers: a query, a passage that answers it, and one or several that do not.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UserError
from ..json_types import JsonMapping, JsonObject
from .json_rows import read_jsonl
from .read_options import ReadOptions
from .rows import structured
from .source_file import Found, SourceFile
from .text_tables import TextTable

QUERY, TEXT, RELEVANCE = "query", "text", "relevance"
_QUERIES, _POSITIVES, _NEGATIVES = ("query", "anchor"), ("positive", "pos"), ("negative", "neg")
RANDOM_PASSAGES = 20
"""Passages drawn for each query of a folder of BEIR where nobody has judged any as irrelevant."""


def triples(fields: JsonMapping, place: str) -> list[JsonObject] | None:
    """The pairs of a row with a query, passages that answer it and passages that do not; None for other rows.

    Raises:
        UserError: if the row has identifiers in place of texts.
    """
    names = [
        next((name for name in choices if name in fields), None)
        for choices in (_QUERIES, _POSITIVES, _NEGATIVES)
    ]
    if None in names:
        return None
    query, positive, negative = (structured(fields[str(name)]) for name in names)
    passages = [(text, 1) for text in _listed(positive)] + [(text, 0) for text in _listed(negative)]
    texts = [query, *(text for text, _ in passages)]
    if all(isinstance(one, str) and one.strip().isdecimal() for one in texts):
        raise UserError(
            f"{place} has identifiers where texts are needed. Join them with the files of queries "
            "and passages first, or give the triples that have the texts."
        )
    rest = {name: value for name, value in fields.items() if name not in names}
    return [{QUERY: query, TEXT: text, RELEVANCE: value, **rest} for text, value in passages]


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def is_beir(path: Path) -> bool:
    """Whether a path is the folder of a set in BEIR's form."""
    return path.is_dir() and (path / "qrels").is_dir() and _file(path, "corpus") is not None


def is_qrels(path: Path) -> bool:
    """Whether a path is one split's judgements of such a folder."""
    return path.parent.name == "qrels" and path.suffix == ".tsv" and is_beir(path.parent.parent)


def splits_of(folder: Path, *, role: str) -> list[str]:
    """The judgements that a role of training reads: ``train``, or for dev ``dev``, else ``test``.

    Raises:
        UserError: if there are none.
    """
    for name in ("train",) if role == "train" else ("dev", "validation", "test"):
        path = folder / "qrels" / f"{name}.tsv"
        if path.is_file():
            return [str(path)]
    there = ", ".join(sorted(path.name for path in (folder / "qrels").iterdir()))
    raise UserError(f"{folder}: qrels has no {role}.tsv, but {there}. Name one of these files.")


def read_qrels(file: SourceFile) -> Found:
    """The judged passages of each query, and where none is judged irrelevant, some drawn at random.

    Grades are divided by the highest. The passages drawn are the same in every pass.

    Raises:
        UserError: if a query or passage is missing.
    """
    folder = file.path.parent.parent
    judged: dict[str, dict[str, float]] = {}
    for where, row in TextTable("\t", is_quoted=False)(SourceFile(file.path, ReadOptions(has_header=True))):
        try:
            query, passage, grade = [str(cell) for cell in row.values()][:3]
            judged.setdefault(query, {})[passage] = float(grade)
        except ValueError:
            raise UserError(
                f"{file.path} {where}: need the identifiers of a query and a passage, and a grade."
            ) from None
    highest = max((grade for grades in judged.values() for grade in grades.values()), default=1.0) or 1.0
    corpus = _file(folder, "corpus")
    drawn: dict[str, list[str]] = {}
    if all(min(grades.values()) > 0 for grades in judged.values()):
        everything = [str(row.get("_id")) for _, row in _rows(corpus)]
        for query, grades in judged.items():
            generator = random.Random(query)
            found = generator.sample(everything, min(len(everything), RANDOM_PASSAGES + len(grades)))
            drawn[query] = [passage for passage in found if passage not in grades][:RANDOM_PASSAGES]
        file.notes.note(
            f"nobody judged a passage irrelevant, so {RANDOM_PASSAGES} were drawn at random for each query: "
            "scores are better than among the candidates of a search"
        )
    wanted = {one for grades in judged.values() for one in grades} | {
        one for new in drawn.values() for one in new
    }
    passages = {str(row["_id"]): _passage(row) for _, row in _rows(corpus) if str(row.get("_id")) in wanted}
    queries = {str(row.get("_id")): str(row.get("text", "")) for _, row in _rows(_file(folder, "queries"))}
    file.details.append(f"BEIR, {len(judged):,} queries")
    for query, grades in judged.items():
        rated = grades | dict.fromkeys(drawn.get(query, ()), 0.0)
        for passage, relevance in rated.items():
            if query not in queries or passage not in passages:
                missing = f"query {query!r}" if query not in queries else f"passage {passage!r}"
                raise UserError(f"{file.path} names {missing}, which {folder} does not have.")
            ids = {"query_id": query, "passage_id": passage}
            texts = {QUERY: queries[query], TEXT: passages[passage]}
            yield (
                f"query {query} passage {passage}",
                {**ids, **texts, RELEVANCE: max(relevance, 0.0) / highest},
            )


def _rows(path: Path | None) -> Iterator[tuple[str, JsonObject]]:
    if path is None:
        raise UserError("a BEIR folder needs corpus.jsonl, queries.jsonl and the folder qrels.")
    return read_jsonl(SourceFile(path))


def _file(folder: Path, name: str) -> Path | None:
    return next(
        (path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()), None
    )


def _passage(row: JsonMapping) -> str:
    """The title, if there is one, and the text, as BEIR joins them."""
    return f"{row.get('title') or ''} {row.get('text') or ''}".strip()
