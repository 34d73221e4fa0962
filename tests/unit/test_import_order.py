"""Imports run downward only, as CONTRIBUTING.md says; the light paths load no torch and no transformers."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
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
        for other in imported_modules(path, package) - {here}:
            if levels[other] >= levels[here]:
                wrong.append(
                    f"{path.relative_to(package)} ({levels[here]}) imports {other} ({levels[other]})"
                )
    assert not wrong, "\n".join(wrong)


def imported_in_package(path: Path, package: Path, modules: Collection[str]) -> set[str]:
    """Modules of the package that a file imports, anywhere in it: ``tasks.text``, not ``tasks``."""
    place, found = path.relative_to(package).parts, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = [*place[: len(place) - node.level]] if node.level else []
            base = ".".join([*above, *filter(None, (node.module or "").split("."))])
            base = base if node.level else base.removeprefix("debertav3").removeprefix(".")
            for alias in node.names:
                name = f"{base}.{alias.name}" if base else alias.name
                found.add(name if name in modules else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("debertav3.") for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            found |= {str(ast.literal_eval(one)) for one in node.args if isinstance(one, ast.Constant)}
    return {name.removeprefix("debertav3.") for name in found} & set(modules)


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """The nodes left after taking away, again and again, those that lead nowhere or that nothing leads to."""
    left = {name: set(others) - {name} for name, others in graph.items()}
    while True:
        wanted = set().union(*left.values())
        gone = [name for name, others in left.items() if not others & left.keys() or name not in wanted]
        if not gone:
            return sorted(left)
        left = {name: others - set(gone) for name, others in left.items() if name not in gone}


def test_no_module_leads_back_to_itself(package: Path) -> None:
    """In no folder, and not by imports inside functions either."""
    paths = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts != ("__init__",):
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {name: imported_in_package(path, package, paths.keys()) for name, path in paths.items()}
    assert "layers.attention" in graph["layers.encoder"] and "finetuning.run" in graph["finetuning.steps"]
    assert not circles(graph)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def calls_on_import(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Calls whose result is dropped, and decorators that are called, of a module's own statements."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.value
        elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        elif isinstance(node, ast.If | ast.Try | ast.For | ast.With | ast.ClassDef):
            yield from calls_on_import(node.body)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from (one for one in node.decorator_list if isinstance(one, ast.Call))


MAKES_A_NEW_OBJECT = {"dataclass", "dataclasses.dataclass", "lru_cache", "torch.no_grad"}
"""Decorators that leave everything else as it was."""
EXPECTED = {
    "inference/spacy_components.py: Language.factory",  # spaCy imports entry points for this
}


def test_nothing_registers_itself_by_being_imported(package: Path) -> None:
    """No call for its effect at import, no assignment into another module's table, no subclass hook."""
    found = set()
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in calls_on_import(tree.body):
            if (name := ast.unparse(call.func)) not in MAKES_A_NEW_OBJECT:
                found.add(f"{where}: {name}")
        own = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                base = target
                while isinstance(base, ast.Subscript | ast.Attribute):
                    base = base.value
                if base is not target and isinstance(base, ast.Name) and base.id not in own:
                    found.add(f"{where}: {ast.unparse(target)} = ...")
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        found |= {f"{where}: {name}" for name in names & {"__init_subclass__", "__set_name__"}}
    assert found == EXPECTED


PROCESSOR = (
    r"(?i:mkldnn|onednn|amx|avx|vnni|int8|ctypes|scratch|cpu_count|num_threads|torch\.backends)"
    r"|pack_for_inference|Packed[A-Z]"
)


def test_layers_know_no_processor(package: Path) -> None:
    for path in (package / "layers").rglob("*.py"):
        assert not {"cpu", "gpu", "processes"} & imported_modules(path, package), path
        words = re.findall(PROCESSOR, path.read_text(encoding="utf-8"))
        assert not words, f"{path}: {words}"


def outside_imports(body: Iterable[ast.AST]) -> set[str]:
    """Packages other than ours that statements import."""
    names = []
    for node in body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
    return {name.split(".")[0] for name in names} - {"debertav3", *sys.stdlib_module_names}


def test_layers_know_torch_only(package: Path) -> None:
    for path in (package / "layers").rglob("*.py"):
        found = outside_imports(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        assert found <= {"torch"}, f"{path.name} imports {found}"


def test_tasks_need_numpy_only(package: Path) -> None:
    """What else they use (pyarrow, openpyxl, datasets) is imported where it is needed; torch never is."""
    for path in (package / "tasks").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = outside_imports(tree.body)
        assert at_import <= {"numpy"}, f"{path.name} imports {at_import}"
        anywhere = outside_imports(ast.walk(tree))
        assert not anywhere & {"torch", "transformers", "accelerate"}, f"{path.name} imports {anywhere}"


def test_every_task_opens_without_torch(package: Path) -> None:
    modules = [f"debertav3.tasks.{path.stem}" for path in sorted((package / "tasks").glob("[!_]*.py"))]
    assert not run_and_list_heavy("import " + ", ".join(modules))


LIGHT = [
    "debertav3",
    "debertav3.errors",
    "debertav3.sizes",
    "debertav3.layers.config",
    "debertav3.tokenization",
    "debertav3.inference.answers",
    "debertav3.inference.batching",
    "debertav3.inference.entities",
    "debertav3.inference.files.predict",
    "debertav3.inference.output_labels",
    "debertav3.inference.predictor",
]


def run_and_list_heavy(code: str, heavy: Collection[str] = HEAVY) -> str:
    """Run code in a fresh Python and print which heavy modules it loaded."""
    listing = f"\nimport sys\nprint('HEAVY:', *sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)"
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
    assert not run_and_list_heavy(code, (*HEAVY, "numpy", "tokenizers", "sentencepiece"))


def test_the_public_names_exist() -> None:
    import debertav3

    for name in debertav3.__all__:
        assert getattr(debertav3, name) is not None
