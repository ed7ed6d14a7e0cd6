"""The shape of the code: what may be imported where, what a package shows, how long a module is."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hypernet", "encoder_service", "workers", "migrations")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "tools"}
MAX_LINES = 400
MAX_FUNCTION_LINES = 60

HEAVY = ("torch", "av", "timm", "torchvision")
LIGHT_IMPORTS = [
    "hypernet",
    "hypernet.errors",
    "hypernet.preset_names",
    "hypernet.weights",
    "hypernet.bitstream",
    "hypernet.bitstream.container",
    "hypernet.bitstream.header",
    "hypernet.bitstream.reader",
    "hypernet.bitstream.segment",
    "hypernet.bitstream.sources",
    "hypernet.bitstream.writer",
    "encoder_service.cli.main",
    "encoder_service.cli.inspection",
    "encoder_service.settings",
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_are_named_by_what_they_hold() -> None:
    assert [name_of(path) for path in MODULES + TESTS if path.stem in FORBIDDEN_NAMES] == []


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_functions_are_short() -> None:
    long = {
        f"{name_of(path)}: {node.name}": lines
        for path in MODULES
        if path.parent.name != "versions"  # a migration is a list of columns
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of
)
def test_a_package_says_what_it_shows(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if not any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
        assert len(tree.body) <= 1  # nothing, or what the package is for
        return
    shown = importlib.import_module(".".join(path.parent.relative_to(ROOT).parts))
    assert shown.__all__ == sorted(shown.__all__, key=_constants_then_classes)
    assert [name for name in shown.__all__ if not hasattr(shown, name)] == []


def _constants_then_classes(name: str) -> tuple[int, str]:
    """The order that ruff keeps lists of exported names in."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_light_modules_import_nothing_heavy() -> None:
    program = "\n".join(
        [
            "import importlib, sys",
            f"for name in {LIGHT_IMPORTS}:",
            "    importlib.import_module(name)",
            f"    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]",
            "    assert not loaded, (name, loaded)",
        ]
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_decoding_needs_no_training_library() -> None:
    program = [
        "import sys, hypernet.decoding",
        "assert not {'timm', 'torchvision', 'torch._dynamo'} & set(sys.modules)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(program)], check=True, cwd=ROOT)


def test_predicting_needs_no_compiler() -> None:
    program = [
        "import sys, torch, hypernet.prediction",
        "from hypernet.predictor.motion import clip_motion",
        "clip_motion(torch.rand(1, 8, 32, 32))",
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(program)], check=True, cwd=ROOT)


def test_help_imports_nothing_heavy() -> None:
    program = "\n".join(
        [
            "import sys",
            "from encoder_service.cli.main import main",
            "try:",
            "    main(['--help'])",
            "except SystemExit as end:",
            f"    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]",
            "    sys.exit(end.code or (f'loaded: {loaded}' if loaded else 0))",
        ]
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "encode" in result.stdout
