"""Imports run downward only, as CONTRIBUTING.md says; the light paths load no torch and no transformers."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "sklearn", "datasets", "accelerate", "pandas", "matplotlib")


def layers_of(contributing: Path) -> dict[str, int]:
    """The table of CONTRIBUTING.md: module name to its level."""
    levels = {}
    for row in re.findall(r"^\| (\d) \| (.+?) \|", contributing.read_text(encoding="utf-8"), re.M):
        for name in re.findall(r"`(\w+)/?`", row[1]):
            levels[name] = int(row[0])
    return levels


def imported_modules(path: Path, package: Path) -> set[str]:
    """Top-level modules of our package that a file imports, anywhere in it."""
    place = path.relative_to(package).parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = [*place[: len(place) - node.level], *(node.module or "").split(".")]
                names = [part for part in base if part] or [alias.name for alias in node.names]
                found |= {names[0]} if any(base) else set(names)
            elif node.module and node.module.split(".")[0] == "debertav3":
                parts = node.module.split(".")[1:]
                found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("debertav3.")}
    return found


@pytest.fixture(scope="module")
def package(repository: Path) -> Path:
    return repository / "src" / "debertav3"


def test_every_module_has_its_level(repository: Path, package: Path) -> None:
    modules = {
        path.stem
        for path in package.iterdir()
        if (path.suffix == ".py" and not path.stem.startswith("__"))
        or (path.is_dir() and (path / "__init__.py").exists())
    }
    assert modules <= layers_of(repository / "CONTRIBUTING.md").keys()


def test_imports_run_downward_and_siblings_do_not_meet(repository: Path, package: Path) -> None:
    levels = layers_of(repository / "CONTRIBUTING.md")
    wrong = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).parts[0].removesuffix(".py")
        if here in ("__init__", "__main__"):
            continue
        for other in imported_modules(path, package) - {here, "__version__"}:
            if levels[other] >= levels[here]:
                wrong.append(
                    f"{path.relative_to(package)} ({levels[here]}) imports {other} ({levels[other]})"
                )
    assert not wrong, "\n".join(wrong)


def imported_siblings(path: Path, folder: Path) -> set[str]:
    """Modules and rooms of ``folder`` that a file in it imports while it is itself imported."""
    place, found = path.relative_to(folder).with_suffix("").parts, set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(place):
            base = [*place[: len(place) - node.level], *(node.module or "").split(".")]
            names = [".".join(part for part in [*base, alias.name] if part) for alias in node.names]
            found |= {".".join(part for part in base if part), *names}
    return found


@pytest.mark.parametrize("room", ["layers", "cpu"])
def test_no_circle_inside_a_room(package: Path, room: str) -> None:
    paths = {
        ".".join(path.relative_to(package / room).with_suffix("").parts): path
        for path in (package / room).rglob("*.py")
        if path.stem != "__init__"
    }
    graph = {name: imported_siblings(path, package / room) & paths.keys() for name, path in paths.items()}
    assert any(graph.values())
    while leaves := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"modules that import each other: {sorted(graph)}"


def test_layers_know_no_processor(package: Path) -> None:
    for path in (package / "layers").glob("*.py"):
        assert "cpu" not in imported_modules(path, package), path
        words = re.findall(
            r"mkldnn|amx|avx|scratch|pack_for_inference|PackedLinear", path.read_text(encoding="utf-8")
        )
        assert not words, f"{path}: {words}"


def test_layers_know_torch_only(package: Path) -> None:
    allowed = {"torch", *sys.stdlib_module_names}
    for path in (package / "layers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, f"{path.name} imports {names}"


def test_tasks_need_numpy_only(package: Path) -> None:
    """What else they use (pyarrow, openpyxl, datasets) is imported where it is needed."""
    for path in (package / "tasks").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            foreign = {name.split(".")[0] for name in names} - {"numpy", *sys.stdlib_module_names}
            assert not foreign, f"{path.name} imports {foreign}"


LIGHT = [
    "debertav3",
    "debertav3.errors",
    "debertav3.sizes",
    "debertav3.layers.config",
    "debertav3.tokenization",
    "debertav3.tasks.choice",
    "debertav3.tasks.tables",
    "debertav3.tasks.table_writers",
    "debertav3.tasks.metrics",
    "debertav3.tasks.spans",
    "debertav3.inference.answers",
    "debertav3.inference.batching",
    "debertav3.inference.entities",
    "debertav3.inference.files",
    "debertav3.inference.labels",
    "debertav3.inference.predictor",
]


def run_and_list_heavy(code: str) -> str:
    """Run code in a fresh Python and print which heavy modules it loaded."""
    listing = f"\nimport sys\nprint('HEAVY:', *sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code + listing], capture_output=True, text=True, check=True, timeout=120
    )
    return result.stderr.splitlines()[-1].removeprefix("HEAVY:").strip()


def test_light_modules_stay_light(package: Path) -> None:
    commands = [
        f"debertav3.cli.{path.stem}" for path in (package / "cli").glob("*.py") if path.stem != "__init__"
    ]
    assert not run_and_list_heavy("import " + ", ".join([*LIGHT, "debertav3.cli", *sorted(commands)]))


def test_help_is_light() -> None:
    code = """
import sys
from debertav3.cli import main
sys.argv = ["debertav3", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert not run_and_list_heavy(code)


def test_the_public_names_exist() -> None:
    import debertav3

    for name in debertav3.__all__:
        assert getattr(debertav3, name) is not None
