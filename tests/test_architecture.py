"""The house: which package may import which, no circles, a core that knows no screen and stays small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("medsr_core", "data_fetch", "medsr_workbook")
# downhill: each may import those before it
CORE = ("files", "seeds", "resampling", "degradation", "diffusion", "images", "tiling", "restoration", "networks",
        "upscalers", "measures", "training")  # fmt: skip
FOR_DATA_FETCH = {"medsr_core.images", "medsr_core.images.stack", "medsr_core.resampling", "medsr_core.files"}
SCREENS = ("click", "rich", "matplotlib", "ipywidgets", "papermill", "nbformat")
PAPERS = (
    "efficientnet",
    "enhancenet",
    "esrgan",
    "fsrnet",
    "facial_prior",
    "medgan",
    "pulse",
    "real_esrgan",
    "sr3",
    "srflow",
    "srgan",
)  # one file per architecture


def modules():
    """Module name -> path, of the three packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source, name, known=MODULES):
    """The modules of ours that a module's source imports, also inside functions; not those for type checkers only."""
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {module for module in found if module in known and module != name}


GRAPH = {name: imports(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}


def uphill(graph):
    """Imports that go the wrong way, between the packages and between the parts of the core."""
    wrong = []
    for name, others in graph.items():
        package, part = [*name.split("."), ""][:2]
        for other in others:
            their_package, their_part = [*other.split("."), ""][:2]
            if package == "medsr_core" and their_package != package:
                wrong.append(f"{name} -> {other}")
            if package == "data_fetch" and their_package != package and other not in FOR_DATA_FETCH:
                wrong.append(f"{name} -> {other}")
            inside = package == their_package == "medsr_core" and part and their_part
            if inside and CORE.index(their_part) > CORE.index(part):
                wrong.append(f"{name} -> {other}")
    return wrong


def circle(graph):
    """A circle of modules, or None. A package is not part of one by holding it: only imports count."""
    state = {}

    def walk(name, path):
        if state.get(name) == "done":
            return None
        if name in path:
            return [*path[path.index(name) :], name]
        for other in sorted(graph[name]):
            if found := walk(other, [*path, name]):
                return found
        state[name] = "done"
        return None

    return next((found for name in graph if (found := walk(name, []))), None)


def test_imports_go_downhill():
    assert uphill(GRAPH) == []


def test_there_is_no_circle():
    assert circle(GRAPH) is None


@pytest.mark.parametrize(
    "name, line",
    [
        ("medsr_core.degradation", "from medsr_core import networks"),
        ("medsr_core.networks.srgan", "def f():\n    from medsr_core.training import losses"),
        ("medsr_core.images.stack", "import data_fetch"),
        ("medsr_core.measures.metrics", "from medsr_workbook import figures"),
        ("data_fetch.sets", "from medsr_core.degradation import bicubic"),
        ("data_fetch.store", "import medsr_workbook.studies"),
    ],
)
def test_an_import_turned_round_is_noticed(name, line):
    assert uphill(GRAPH | {name: GRAPH[name] | imports(line, name)})


def test_a_circle_is_noticed():
    turned = imports("from medsr_core import images", "medsr_core.images.stack")
    assert circle(GRAPH | {"medsr_core.images.stack": turned})
    assert imports("if TYPE_CHECKING:\n    from medsr_core import images", "x") == set()


def fresh(code):
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_the_core_knows_no_screen_and_no_command():
    core = [name for name in MODULES if name.split(".")[0] == "medsr_core"]
    loaded = fresh(f"import sys, {', '.join(core)}; print(*sys.modules)")
    assert [name for name in SCREENS if name in loaded] == []
    assert "medsr_core.training.loop" in loaded


def test_the_one_call_does_not_wait_for_what_it_does_not_need():
    loaded = fresh("import sys, medsr_core.upscalers; print(*sys.modules)")
    heavy = ("lightning_fabric", "nibabel", "pydicom", "tifffile", "PIL", "imagecodecs", "skimage", "scipy")
    assert [name for name in heavy if name in loaded] == []


def test_the_core_stays_small():
    folder = [path.name for path in (ROOT / "medsr_core").iterdir() if not path.name.startswith(("__pycache__", "."))]
    assert len(folder) <= 14, folder
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in MODULES.items()
        if name.split(".")[0] == "medsr_core" and name.rpartition(".")[2] not in PAPERS
    }
    assert sum(lines.values()) <= 5200, lines
