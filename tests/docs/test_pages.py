"""What the README and the pages of docs/ name exists: links, anchors, options, verbs, stages, make targets."""

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import usage as benchmarks_usage
from engine.__main__ import VERBS
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}

# A page that is gone is noticed, though nothing may link to it.
EXPECTED = {
    *(
        "docs/quickstart.md",
        "docs/architecture.md",
        "docs/recipes.md",
        "docs/techniques.md",
        "docs/benchmarks.md",
    ),
    *(f"docs/guide/{name}.md" for name in ("convert", "train", "resume", "evaluate", "compare")),
    *(
        f"docs/reference/{name}.md"
        for name in ("options", "sources", "beton_format", "log_schema", "exit_codes", "knowledge")
    ),
    *(f"docs/extending/{name}.md" for name in ("source", "storage", "optimizer", "augmentation", "peer")),
}

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# A name of an option that is no longer there is history in the log of changes.
_OF_ITS_TIME = {"CHANGELOG.md"}


def _options() -> dict[str, set[str]]:
    """Names of options by section."""
    fields = {**TrainConfig.__dataclass_fields__, **WriteConfig.__dataclass_fields__}
    return {
        section: set(options_of(field.default_factory))  # type: ignore[arg-type]
        for section, field in fields.items()
    }


OPTIONS = _options()
_SECTIONS = "|".join(OPTIONS)
# "--data.order" and "`data.order`", but no module, path or file name.
_OPTION = re.compile(rf"(?<![\w./-])(?:--)?({_SECTIONS})\.([a-z]\w*)(?![\w(/]|\.\w)")
_FILE_ENDINGS = {
    "safetensors",
    "py",
    "yaml",
    "md",
    "json",
    "jsonl",
    "beton",
    "csv",
    "pt",
    "html",
    "svg",
    "onnx",
    "xml",
    "bin",
    "ts",
    "pt2",
    "mlpackage",
}


def missing_options(text: str) -> list[str]:
    """Options that `text` names and that no section has."""
    named = [(section, key) for section, key in _OPTION.findall(text) if key not in _FILE_ENDINGS]
    return [f"{section}.{key}" for section, key in named if key not in OPTIONS[section]]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: str, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    broken = []
    for target in _LINK.findall(text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def test_every_expected_page_exists() -> None:
    missing = sorted(EXPECTED - set(PAGES))
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES)
def test_page_links_have_targets(page: str) -> None:
    broken = broken_links(page, TEXTS[page])
    assert not broken, broken


@pytest.mark.parametrize("page", [page for page in PAGES if page not in _OF_ITS_TIME])
def test_page_options_exist(page: str) -> None:
    missing = missing_options(TEXTS[page])
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES)
def test_page_commands_exist(page: str) -> None:
    text = TEXTS[page]
    targets = set(
        re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"python -m engine ([a-z][a-z-]*)", text)) <= set(VERBS)
    stages = set(re.findall(r"^  ([a-z][a-z-]*) ", benchmarks_usage(), re.MULTILINE))
    assert set(re.findall(r"python -m benchmarks ([a-z][a-z-]*)", text)) <= stages
    named = re.findall(r"(?:`|^)make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)", text, re.MULTILINE)
    assert set(named) <= targets


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in _LINK.findall(TEXTS[page]):
            path = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            if (
                path.suffix == ".md"
                and path.is_relative_to(ROOT)
                and path.relative_to(ROOT).as_posix() in TEXTS
            ):
                waiting.append(path.relative_to(ROOT).as_posix())
    unreached = sorted(set(PAGES) - reached)
    assert not unreached, unreached


def test_contributing_names_every_folder_of_the_code() -> None:
    files = [*(ROOT / "engine").rglob("*.py"), *(ROOT / "benchmarks").glob("*/*.py")]
    folders = {file.parent.relative_to(ROOT).as_posix() for file in files} - {"engine"}
    named = set(re.findall(r"^\| `([\w/]+)/` \|", TEXTS["CONTRIBUTING.md"], re.MULTILINE))
    unnamed = sorted(folders - named)
    assert not unnamed, unnamed


def test_every_verb_appears_in_docs() -> None:
    text = "\n".join(TEXTS.values())
    assert [verb for verb in VERBS if f"python -m engine {verb}" not in text] == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`--data.order=pages`, data.verify and training.epochs.", []),
        ("--data.nothing=1", ["data.nothing"]),
        ("`training.epoch`", ["training.epoch"]),
        ("engine.data.order, data/model.py, model.pt, loss.py", []),
    ],
)
def test_missing_options_finds_only_unknown_ones(text: str, missing: list[str]) -> None:
    assert missing_options(text) == missing


def test_broken_links_finds_missing_files_and_anchors() -> None:
    text = "[a](quickstart.md) [b](nowhere.md) [c](architecture.md#ranks) [d](architecture.md#nowhere) [e](https://x.y)"
    assert broken_links("docs/recipes.md", text) == ["nowhere.md", "architecture.md#nowhere"]
