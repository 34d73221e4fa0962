"""Multiple choice as its authors publish it: one text with several questions, as rows of one question each.

RACE (Lai et al. 2017) has a file for each article; DREAM (Sun et al. 2019) a list of dialogues.
"""

from collections.abc import Sequence

from ..errors import UserError
from ..json_types import Json, JsonMapping
from .source_file import Found


def is_race(value: JsonMapping) -> bool:
    """Whether an object is an article with its questions."""
    names = ("questions", "options", "answers")
    return "article" in value and all(isinstance(value.get(name), list) for name in names)


def race_rows(article: JsonMapping, source: str) -> Found:
    """The questions of an article, as rows of RACE's copy on the Hub.

    Raises:
        UserError: if there are not as many options and answers as questions.
    """
    parts = [article[name] for name in ("questions", "options", "answers")]
    if len(set(map(len, parts))) > 1:
        raise UserError(
            f"{source}: article {article.get('id', '')!r} has {len(parts[0])} questions, {len(parts[1])} "
            f"lists of options and {len(parts[2])} answers; need as many of each."
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
        UserError: if the answer of a question is none of its choices.
    """
    for turns, questions, name in dialogues:
        for number, one in enumerate(questions, start=1):
            place = f"{name} question {number}"
            choices, answer = one.get("choice"), one.get("answer")
            if not isinstance(choices, list) or (answer is not None and answer not in choices):
                raise UserError(f"{source} {place}: the answer {answer!r} is none of the choices.")
            row = {"id": name, "context": "\n".join(turns), "question": one.get("question")}
            right = None if answer is None else choices.index(answer)
            yield place, {**row, "choices": choices, "label": right}
