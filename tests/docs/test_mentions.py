"""No comment, docstring or page names a file, folder or module that the repository does not have."""

from functools import cache
from pathlib import Path

import pytest

from tests.docs.mentions import Repository, imports_in_strings, prose

ROOT = Path(__file__).resolve().parents[2]

# Files of other projects that comments and pages rightly name.
_OTHERS = {
    "Resample.c": "Pillow",
    "jdhuff.c": "libjpeg-turbo",
    "fuse.h": "libfuse",
    "malloc.h": "glibc",
    "mman.h": "Linux",
    "train.py": "timm and torchvision",
    "inference.py": "timm",
    "references/classification/train.py": "torchvision",
    "config.py": "the source of rn50_configs/two_stages_90_50.yaml",
    "train/augmentations.py": "the source of rn50_configs/two_stages_90_50.yaml",
    "configs/local_config.py": "the source of rn50_configs/medium_imagenet_mini.yaml",
    "runtime.py": "an exported package",
    "app.py": "a Hugging Face Space that export --to space writes",
    "configs/p3_config.py": "the source of rn50_configs/medium_90_epochs.yaml",
    "proj/distill/bit_i1k.py": "the source of rn50_configs/function_matching.yaml",
}

# Pages that show how a file is added name one that is not there.
_EXAMPLES = "docs/extending/"

# Records are of their time, and so is the history of changes.
_OF_THEIR_TIME = ("benchmarks/results/", "CHANGELOG.md")


@cache
def _repository() -> Repository:
    return Repository(ROOT)


def test_every_named_file_folder_and_module_exists() -> None:
    repository = _repository()
    missing: list[str] = []
    for path in repository.files:
        if path.startswith(_OF_THEIR_TIME) or Path(path) == Path(__file__).relative_to(ROOT):
            continue
        data = (ROOT / path).read_bytes()
        if b"\0" in data:
            continue
        for number, text in prose(path, data.decode("utf-8")):
            for name in repository.missing(text):
                is_example = path.startswith(_EXAMPLES) and repository.may_be_new(name)
                if name not in _OTHERS and not is_example:
                    missing.append(f"{path}:{number} {name}")
    assert not missing, "\n".join(missing)


def test_imports_in_code_strings_exist() -> None:
    repository = _repository()
    missing = []
    for path in repository.files:
        # Its strings are made-up modules.
        if not path.endswith(".py") or path == "tests/test_layering.py" or path.startswith("tests/docs/"):
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        for number, name in imports_in_strings(text):
            if not repository.has_module(name):
                missing.append(f"{path}:{number} {name}")
    assert not missing, "\n".join(missing)


def test_imports_in_strings_are_found() -> None:
    text = 'CODE = """\nfrom engine.data import beton\nimport engine.nowhere\n"""\nimport engine.config\n'
    assert [name for _, name in imports_in_strings(text)] == ["engine.data.beton", "engine.nowhere"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see reader.py and beton/reader.py", []),
        ("see engine/data/beton/reader.py, engine/data/beton/ and engine/data", []),
        ("engine.data.beton.reader, engine.data.beton.reader.Beton", []),
        ("rn50_configs/*.yaml, https://example.org/engine/nothing.py, engine/cli/NAME.py", []),
        ("by nothing_of_ours.py.", ["nothing_of_ours.py"]),
        ("in beton/loader.py", ["beton/loader.py"]),
        ("in engine/data/nowhere/", ["engine/data/nowhere/"]),
        ("engine.data.nowhere is gone", ["engine.data.nowhere"]),
        ("engine.data.beton.reader.NoSuchThing", ["engine.data.beton.reader.NoSuchThing"]),
    ],
)
def test_missing_lists_only_nonexistent_names(text: str, missing: list[str]) -> None:
    assert _repository().missing(text) == missing


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("gray.py", True),
        ("engine/data/storage/gray.py", True),
        ("engine.data.storage.gray", True),
        ("engine/nowhere/gray.py", False),
        ("engine.nowhere.gray", False),
    ],
)
def test_new_file_needs_an_existing_folder(name: str, may: bool) -> None:
    assert _repository().may_be_new(name) == may


def test_prose_of_python_is_comments_and_docstrings_alone() -> None:
    text = '"""One."""\nx = "two"  # three\n"""Four\nfive."""\n'
    assert sorted(prose("a.py", text)) == [(1, "One."), (2, "# three"), (3, "Four"), (4, "five.")]


def test_prose_of_c_is_its_comments() -> None:
    assert list(prose("a.c", 'int a; /* one\n two */ char *b = "c";\n// three')) == [
        (1, "/* one"),
        (2, " two */"),
        (3, "// three"),
    ]
