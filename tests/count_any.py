"""Count ``Any`` in annotations, by room; more than MOST is a failure of make check. Lower it as they go."""

import ast
import sys
from collections import Counter
from pathlib import Path

MOST = 150
PACKAGE = Path(__file__).resolve().parents[1] / "src" / "debertav3"


def count_any(package: Path) -> Counter[str]:
    """How often ``Any`` is used in each folder and module directly below a package; imports do not count."""
    found: Counter[str] = Counter()
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            found[room] += isinstance(node, ast.Name) and node.id == "Any"
            found[room] += isinstance(node, ast.Attribute) and node.attr == "Any"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[Any" in node.value:
                found[room] += node.value.count("[Any")  # annotations in quotes
    return +found


if __name__ == "__main__":
    counts = count_any(PACKAGE)
    rooms = ", ".join(f"{room} {number}" for room, number in counts.most_common())
    print(f"Any: {counts.total()} of at most {MOST} ({rooms})")
    sys.exit(counts.total() > MOST)
