"""Lists and dicts in Python's spelling, as pandas writes them into the cells of a CSV file.

``['sea', 'car']``, ``{'text': array(['x'], dtype=object)}`` and numpy's ``['sea' 'car']`` and ``[0 3 1]``,
which have no commas. Nothing is run: the cell is parsed and must consist of literals.
"""

import ast
import io
import re
import tokenize

from ..json_types import Json

_NUMBERS = re.compile(r"\[\s*-?\d+\.?\d*(?:\s+-?\d+\.?\d*)*\s*\]")
_LONGEST = 1 << 20


def python_value(text: str) -> Json:
    """The list or dict that a cell holds.

    Raises:
        ValueError: if it holds none.
    """
    text = text.strip()
    if len(text) > _LONGEST or not text or text[0] not in "[{(":
        raise ValueError("no list")
    if _NUMBERS.fullmatch(text):
        return [float(one) if "." in one else int(one) for one in text[1:-1].split()]
    try:
        tree = ast.parse(_with_commas(text), mode="eval").body
        if not isinstance(tree, ast.List | ast.Tuple | ast.Dict | ast.Set):
            raise ValueError("no list")
        return _value(tree)
    except (SyntaxError, RecursionError, MemoryError, tokenize.TokenError, IndentationError) as error:
        raise ValueError("no list") from error


def _with_commas(text: str) -> str:
    """Put the commas between strings that numpy leaves out; to Python two strings in a row are one."""
    before = None
    marks = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.NEWLINE):
            continue
        if token.type == before == tokenize.STRING:
            marks.append(token.start)
        before = token.type
    lines = text.splitlines(keepends=True)
    for row, column in reversed(marks):
        line = lines[row - 1]
        lines[row - 1] = f"{line[:column]}, {line[column:]}"
    return "".join(lines)


def _value(node: ast.AST) -> Json:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_value(one) for one in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(one) for key, one in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name) and node.id == "nan":
        return None
    is_array = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array"
    if isinstance(node, ast.Call) and is_array and node.args:
        return _value(node.args[0])
    raise ValueError(f"no literal: {type(node).__name__}")
