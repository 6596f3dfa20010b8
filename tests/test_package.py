"""Packaging: imports, declared dependencies, contents of the wheel."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

import vampnet

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted([*ROOT.glob("vampnet/**/*.py"), *ROOT.glob("harp_app/**/*.py")])
# Import names of packages where they differ from the name of the package.
IMPORT_NAMES = {
    "import-linter": "importlinter",
    "beat-this": "beat_this",
    "pillow": "PIL",
}
GRADIO_BRINGS = {"huggingface-hub"}  # installed by gradio, not named by `serve`
UNIONS = {"all", "test", "dev"}  # extras that include others
ONLY_IN = {  # where a library, or a module of it, may be imported
    "soundfile": ("vampnet.audio.",),
    "gradio": ("harp_app.",),
    "pyharp": ("harp_app.",),
    "safetensors.torch": (
        "vampnet.checkpoints.",
        "vampnet.evaluation.",
        "vampnet.training.",
    ),
    **dict.fromkeys(
        ("urllib.request", "http.client", "huggingface_hub", "requests", "httpx"),
        ("vampnet.checkpoints.download",),
    ),
    **dict.fromkeys(("dac", "audiotools"), ()),  # of the original
}

pytestmark = pytest.mark.skipif(not SOURCES, reason="needs the checkout")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    return {name.partition(".")[0] for name in modules_of(path)}


def run_python(code: str, *, path: Path = ROOT, cwd: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def packages(requirements: list[str]) -> set[str]:
    """The names of the packages of a list of requirements."""
    return {re.match(r"[\w.-]+", line).group() for line in requirements}  # type: ignore


def without(*extras: str) -> str:
    """Python code that hides the packages that only these extras install (all where none)."""
    project = PROJECT["project"]
    listed = project["optional-dependencies"]
    kept = packages(project["dependencies"]) | {"vampnet-harp"}
    kept |= GRADIO_BRINGS if extras and "serve" not in extras else set()
    for extra in listed:
        if extras and extra not in extras and extra not in UNIONS:
            kept |= packages(listed[extra])
    hidden = set().union(*(packages(listed[extra]) for extra in extras or listed)) - kept
    names = sorted(IMPORT_NAMES.get(name, name.replace("-", "_")) for name in hidden)
    return f"""
import importlib, sys
class MissingPackages:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, MissingPackages())
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["vampnet", "harp_app"])
def test_every_module_imports_with_its_dependencies_alone(package):
    """The library's modules need the base dependencies, the endpoint's those and ``serve``."""
    listed = PROJECT["project"]["optional-dependencies"]
    hiding = without(*(set(listed) - {"serve"})) if package == "harp_app" else without()
    modules = [module_name(path) for path in SOURCES if path.name != "__main__.py"]
    modules = [name for name in modules if name.partition(".")[0] == package]
    run_python(f"{hiding}\nfor name in {modules!r}: importlib.import_module(name)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("serve", "serve"),
        ("vamp docs/demo/loop.flac OUT.flac --picture OUT.png", "plot"),
        ("evaluate docs/demo OUT", "eval"),
        ("evaluate docs/demo OUT --embedding clap=OUT", "clap"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(line, extra, tmp_path):
    words = line.replace("OUT", str(tmp_path / "out")).split()
    code = f"from vampnet.cli import main\nsys.exit(main({words!r}))"
    command = [sys.executable, "-c", without(extra, "plot") + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and f'pip install "vampnet-harp[{extra}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_endpoint_without_its_packages_names_the_extra():
    code = "import runpy\nsys.argv[1:] = []\nrunpy.run_module('harp_app', run_name='__main__')"
    command = [sys.executable, "-c", without("serve") + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert 'pip install "vampnet-harp[serve]"' in done.stderr


@pytest.mark.slow
def test_a_variation_needs_the_base_dependencies_alone(tmp_path):
    words = ["vamp", "docs/demo/loop.flac", str(tmp_path / "out.flac"), "--preset", "dream"]
    words += ["--steps", "1", "--fine-steps", "1", "--mono"]
    run_python(f"{without()}\nfrom vampnet.cli import main\nsys.exit(main({words!r}))")
    assert (tmp_path / "out.flac").stat().st_size


def test_importing_the_library_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'scipy', 'soundfile', 'gradio', 'matplotlib'}"
    assert run_python(f"import sys, vampnet; print({heavy} & set(sys.modules))") == "set()"


@pytest.mark.slow
def test_loading_a_model_does_not_import_the_compiler():
    """Initializing some layers on the meta device would import it, which takes half a second."""
    compiler = "{'sympy', 'torch._dynamo', 'torch.fx.experimental.symbolic_shapes'}"
    load = "import sys, vampnet; vampnet.Pipeline.from_pretrained()"
    code = f"{load}; print({compiler} & set(sys.modules))"
    assert run_python(code) == "set()"


def test_every_public_name_is_importable():
    assert "Pipeline" in dir(vampnet) and set(vampnet.__all__) <= set(dir(vampnet))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vampnet.nothing
    for name in vampnet.__all__:
        assert getattr(vampnet, name) is not None


def test_files_weights_network_and_gradio_are_accessed_only_by_their_layers():
    for path in SOURCES:
        name, imported = module_name(path), modules_of(path) | imports_of(path)
        for library, allowed in ONLY_IN.items():
            if not name.startswith(allowed):
                assert library not in imported, f"{name} imports {library}; allowed in {allowed}"


def test_every_import_is_a_declared_dependency():
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = set().union(*map(packages, lists))
    known = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared}
    known |= {*sys.stdlib_module_names, "vampnet", "harp_app", "pyharp", "typing_extensions"}
    for path in SOURCES:
        undeclared = imports_of(path) - known
        assert not undeclared, f"{module_name(path)} imports {sorted(undeclared)}"


@pytest.mark.slow
def test_the_wheel_contains_packages_presets_and_weights_alone(tmp_path):
    wheel_builder = pytest.importorskip("hatchling.builders.wheel")
    built = next(iter(wheel_builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))))
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    for preset in ROOT.glob("presets/*.toml"):
        assert f"vampnet/_presets/{preset.name}" in names
    for folder in ("vampnet", "harp_app"):
        for file in ROOT.glob(f"{folder}/**/*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert file.relative_to(ROOT).as_posix() in names
    assert not [n for n in names if n.startswith(("tests/", "presets/", "docs/", ".venv"))]
    where = "import vampnet.presets as p; print(p.__file__); print(sorted(p.presets()))"
    from_wheel = run_python(where, path=tmp_path / "site", cwd=tmp_path).splitlines()
    from_checkout = run_python(where, cwd=tmp_path).splitlines()
    assert str(tmp_path) in from_wheel[0] and str(ROOT) in from_checkout[0]
    assert from_wheel[1] == from_checkout[1] != "[]"
