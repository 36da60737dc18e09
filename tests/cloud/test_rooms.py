"""The rooms of the house: who may import whom, which names are public, and how little a start loads."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import byoc_vision
import byoc_vision.cli
from tests.cloud.conftest import ROOT

#: The library's floors, from the ground up; rooms of one floor do not know each other, but for the top but one.
FLOORS = (
    ("contract",),
    ("archives", "home", "engine", "http_server", "refusals"),
    ("requests", "debugger"),
    ("aws", "local"),
    ("service",),
    (
        *("checks", "hyperparameter_sources", "pictures", "plan", "repack", "prediction", "trained_model", "versions"),
        *("endpoint", "searches", "importance", "listing"),
        *("reports", "jobs", "session", "sdk"),
    ),
    ("demo",),
    ("cli",),
)
SHARING = FLOORS[-3]

#: What the other packages may know besides themselves.
KNOWN = {
    "classifier": {"byoc_vision.contract"},
    "train": {"byoc_vision.contract", "classifier"},
    "serve": {"byoc_vision.contract", "classifier"},
    "byoc_vision.debugger": {"byoc_vision.contract"},
    "launch": {"byoc_vision.cli"},
}
OURS = ("byoc_vision", "launch", "classifier", "train", "serve", "bench", "local_test")

#: Where a heavy package may be imported.
ONLY_IN = {
    "smdebug": ("train.record.managed_hook", "byoc_vision.debugger.smdebug_adapter"),
    "torch": ("classifier.network", "train", "serve.torch_backend", "serve.own_model", "bench"),
    "boto3": (
        *("byoc_vision.aws", "byoc_vision.debugger.finished_trial", "local_test.local_mode", "serve.submitted"),
        "bench.service",
    ),
    "optuna": ("byoc_vision.local", "byoc_vision.importance"),
}


def _modules() -> dict[str, Path]:
    files = [file for package in OURS for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = _modules()


def _imports(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it, but for what only the type checker reads."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else str(node.module)
        pending += ast.iter_child_nodes(node)


IMPORTS = {name: set(_imports(file)) for name, file in MODULES.items()}


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _room(module: str) -> str:
    return module.split(".")[1]


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: {each for each in imported if each in MODULES} - {name} for name, imported in IMPORTS.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_library_is_built_from_the_ground_up() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for module, imported in IMPORTS.items():
        if module.count(".") == 0 or not _is_in(module, "byoc_vision") or module == "byoc_vision.__main__":
            continue
        for other in imported:
            if not other.startswith("byoc_vision.") or _room(other) == _room(module):
                continue
            here, there = floor[_room(module)], floor[_room(other)]
            own = (_room(module) in SHARING and _room(other) in SHARING) or {here, there} == {1}
            if there > here or (there == here and not own):
                wrong.append(f"{module} -> {other}")
    assert not wrong


def test_only_the_session_and_the_service_know_the_engines() -> None:
    engines = defaultdict(set)
    for module, imported in IMPORTS.items():
        for other in imported:
            for engine in ("byoc_vision.aws", "byoc_vision.local"):
                if _is_in(other, engine) and not _is_in(module, engine):
                    engines[engine].add(module)
    library = {name: {each for each in users if _is_in(each, "byoc_vision")} for name, users in engines.items()}
    assert library["byoc_vision.aws"] == {"byoc_vision.session", "byoc_vision.cli.images"}
    rooms = {name if name.count(".") == 1 else name.rpartition(".")[0] for name in library["byoc_vision.local"]}
    assert rooms == {"byoc_vision.session", "byoc_vision.service"}


@pytest.mark.parametrize("package", KNOWN)
def test_what_runs_in_images_shares_the_contract_only(package: str) -> None:
    allowed = KNOWN[package] | {package}
    wrong = [
        f"{module} -> {other}"
        for module, imported in IMPORTS.items()
        if _is_in(module, package)
        for other in imported
        if other.split(".")[0] in OURS and other != "byoc_vision"  # which has the version, and loads nothing
        if not any(_is_in(other, each) for each in allowed)
    ]
    assert not wrong


@pytest.mark.parametrize("heavy", ONLY_IN)
def test_heavy_packages_stay_where_they_are_needed(heavy: str) -> None:
    users = [module for module, imported in IMPORTS.items() if any(_is_in(other, heavy) for other in imported)]
    assert users
    assert [module for module in users if not any(_is_in(module, each) for each in ONLY_IN[heavy])] == []


def test_no_command_imports_another() -> None:
    commands = {f"byoc_vision.cli.{name}" for name in byoc_vision.cli.COMMANDS}
    assert [module for module in commands if IMPORTS[module] & commands] == []


def test_a_launcher_is_one_call() -> None:
    files = {file.stem: file for file in (ROOT / "launch").glob("[a-z]*.py")}
    assert files.keys() >= {"train", "tune", "deploy", "predict"}
    for file in files.values():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 60


def test_the_public_names() -> None:
    names = [
        "Endpoint",
        "METRIC_DEFINITIONS",
        "ModelVersion",
        "Prediction",
        "Report",
        "Session",
        "TrainingJob",
        "TransformJob",
        "TuningJob",
        "UserError",
        "__version__",
        "image_uri",
        "role_arn",
        "use_local_service",
    ]
    assert sorted(byoc_vision.__all__) == names == sorted(dir(byoc_vision))
    for name in names:
        value = getattr(byoc_vision, name)
        if callable(value) and name != "UserError":
            assert ">>>" in str(value.__doc__), f"{name} has no example"
    with pytest.raises(AttributeError, match="nothing"):
        _ = byoc_vision.nothing


@pytest.mark.parametrize("code", ["import byoc_vision", "import byoc_vision.cli as c; c.main()"])
def test_a_start_is_quick_and_loads_nothing_heavy(code: str) -> None:
    heavy = ("boto3", "botocore", "optuna", "torch", "numpy", "yaml", "sagemaker", "PIL", "logging")
    program = (
        f"import sys, time; sys.argv = ['byoc', '--help']\ntry:\n    {code}\nexcept SystemExit: pass\n"
        f"print([m for m in {heavy} if m in sys.modules], time.process_time() <= 0.08)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] True"


def test_a_python_that_is_too_old_is_told_so() -> None:
    program = "import sys; sys.version_info, sys.version = (3, 9, 1), '3.9.1 (main)'; import byoc_vision"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "byoc-vision needs Python 3.11 or newer, and this is 3.9.1; use a newer one\n"
