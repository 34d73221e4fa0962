"""Multiple-choice data as published: one text with several questions, read as one row per question.

RACE (Lai et al. 2017) has one file per article, in folders; DREAM (Sun et al. 2019) a list of dialogues.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..json_types import Json, JsonMapping
from .source_file import Found, SourceFile
from .strict_json import parse_json


def is_race(value: JsonMapping) -> bool:
    """Whether an object is an article with its questions."""
    names = ("questions", "options", "answers")
    return "article" in value and all(isinstance(value.get(name), list) for name in names)


def is_race_folder(path: Path) -> bool:
    """Whether a folder or a subfolder has one file per article, such as ``high/1.txt``."""
    first = min(path.rglob("*.txt"), default=None) if path.is_dir() else None
    try:
        content = None if first is None else json.loads(first.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and is_race(content)


def read_race_folder(file: SourceFile) -> Found:
    """The questions of all articles of a folder, in order of name.

    Raises:
        UserError: naming the first file that is not an article.
    """
    for path in sorted(file.path.rglob("*.txt")):
        try:
            content = parse_json(path.read_text(encoding="utf-8-sig"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {error}.") from None
        if not isinstance(content, dict) or not is_race(content):
            raise UserError(f"{path} is not a RACE article. Remove it from the folder.")
        for where, row in race_rows(content, str(path)):
            yield f"{path.relative_to(file.path)} {where}", row


def race_rows(article: JsonMapping, source: str) -> Found:
    """The questions of an article, as rows like those of RACE on the Hub.

    Raises:
        UserError: if there are not as many options and answers as questions.
    """
    parts = [article[name] for name in ("questions", "options", "answers")]
    if len(set(map(len, parts))) > 1:
        raise UserError(
            f"{source}: article {article.get('id', '')!r} has {len(parts[0])} questions, {len(parts[1])} "
            f"lists of options and {len(parts[2])} answers; need the same number of each."
        )
    name = article.get("id", "article")
    for number, (question, options, answer) in enumerate(zip(*parts, strict=True), start=1):
        row = {"example_id": str(name), "article": article["article"]}
        yield f"{name} question {number}", {**row, "question": question, "options": options, "answer": answer}


def is_dream(value: Json) -> bool:
    """Whether a list is a dialogue, its questions and its name."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(one, list) for one in value[:2])
        and all(isinstance(one, str) for one in value[0])
        and all(isinstance(one, dict) and "choice" in one for one in value[1])
    )


def dream_rows(dialogues: Sequence[Json], source: str) -> Found:
    """The questions of dialogues; the right choice is given by its text.

    Raises:
        UserError: if the answer to a question is not one of its choices.
    """
    for turns, questions, name in dialogues:
        for number, one in enumerate(questions, start=1):
            place = f"{name} question {number}"
            choices, answer = one.get("choice"), one.get("answer")
            if not isinstance(choices, list) or (answer is not None and answer not in choices):
                raise UserError(f"{source} {place}: the answer {answer!r} is not one of the choices.")
            row = {"id": name, "context": "\n".join(turns), "question": one.get("question")}
            right = None if answer is None else choices.index(answer)
            yield place, {**row, "choices": choices, "label": right}
