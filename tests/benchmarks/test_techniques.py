"""The techniques stage, its table of techniques, and the page that is written from both: none may drift."""

import re
from pathlib import Path

import pytest

from benchmarks.stages.techniques import MEASURED, main
from benchmarks.sides.steps.local_step import step_config
from benchmarks.stages.techniques import TECHNIQUES, WEIGHTS, Technique
from benchmarks.stages.x_techniques_page import COMMAND, DOC, RESULTS, ROOT, in_words, with_tables, write_tables
from engine.config.options import options_of
from engine.config.schema import TrainConfig
from engine.errors import UserError
from engine.report.shelf import Recipe, read_shelf
from tests.benchmarks import records

TEXT = DOC.read_text(encoding="utf-8")
OPTIONS = {
    f"{name}.{key}": spec
    for name, field in TrainConfig.__dataclass_fields__.items()
    for key, spec in options_of(field.default_factory).items()  # type: ignore[arg-type]
}
# Choices that are no technique: where and how a run is done, not what it learns by.
NOT_TECHNIQUES = {
    *("data.order", "data.decoder", "data.verify", "data.corrupt", "training.device", "model.train_only"),
    "logging.wandb_mode",
    *(
        "training.nonfinite",
        "augmentation.rand_augment_form",
        "augmentation.erasing_fill",
        "lr.batch_scaling",
    ),
}


def test_the_page_is_what_the_records_and_the_recipes_say() -> None:
    assert with_tables(TEXT, RESULTS, read_shelf(ROOT)) == TEXT, f"write it anew: {COMMAND}"


def test_every_choice_of_a_technique_is_named() -> None:
    asked = {key: spec.choices for key, spec in OPTIONS.items() if spec.choices and key not in NOT_TECHNIQUES}
    assert {"lr.lr_schedule_type", "training.optimizer", "loss.name", "augmentation.policy"} <= set(asked)
    missing = [
        f"{key}={choice}"
        for key, choices in asked.items()
        for choice in choices
        if choice not in ("none", "auto") and not re.search(rf"\b{re.escape(choice)}\b", TEXT)
    ]
    assert missing == []


def test_every_option_that_is_named_exists() -> None:
    sections = "|".join({key.split(".")[0] for key in OPTIONS})
    named = set(re.findall(rf"`((?:{sections})\.[a-z0-9_]+)[`=]", TEXT))
    assert len(named) > 40
    assert named <= set(OPTIONS)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.name)
def test_a_technique_is_described_measured_or_says_why_not(technique: Technique) -> None:
    assert f"**{technique.name}**" in TEXT
    assert f"<!-- table: {technique.section} -->" in TEXT
    assert set(technique.options) <= set(OPTIONS)
    named = {row.split(" | ")[0].strip("| ") for row in TEXT.splitlines() if row.startswith("| ")}
    assert technique.name in named


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.name)
def test_a_recipe_with_its_options_uses_a_technique(technique: Technique) -> None:
    options = {key: "weights.pt" if value == WEIGHTS else value for key, value in technique.options.items()}
    if technique.name == "FixRes: search":
        options |= {"training.eval_only": True, "model.weights": "weights.pt"}
    if technique.name == "stages":
        options["training.epochs"] = 18
    if technique.name == "Nesterov":
        options["training.momentum"] = 0.9
    if technique.name == "fp16":
        options["training.device"] = "cuda"
    assert technique.uses(step_config("resnet50", 16, options))


def test_a_technique_that_is_off_by_default_is_not_used_by_default() -> None:
    plain = step_config("resnet50", 16, {"validation.lr_tta": False, "training.precision": "fp32"})
    used = {technique.name for technique in TECHNIQUES if technique.uses(plain)}
    # These are how every recipe trains where it says nothing else.
    assert used == {
        "cyclic",
        "warm-up",
        "sgd",
        "decay groups",
        "label smoothing",
        "crop and flip",
        "channels_last",
    }


def test_recipes_are_named_by_their_folder_where_all_or_most_of_it_have_it() -> None:
    technique = next(technique for technique in TECHNIQUES if technique.name == "BlurPool")
    plain, blurred = (step_config("resnet50", 16, {"training.use_blurpool": on}) for on in (False, True))

    def shelf(*stages: tuple[TrainConfig, ...]) -> list[Recipe]:
        return [Recipe(family="f", name=f"r{index}", stages=each) for index, each in enumerate(stages)]

    assert in_words(technique, shelf((blurred,), (plain, blurred))) == "all of f_configs"
    assert in_words(technique, shelf((blurred,), (plain,), (plain,))) == "r0"
    assert in_words(technique, shelf((plain,), *[(blurred,)] * 3)) == "f_configs but r0"
    assert in_words(technique, shelf((plain,), (plain,))) == "none"
    numbered = [Recipe(family="f", name=f"net_{epochs}_epochs", stages=(blurred,)) for epochs in (16, 24, 32)]
    others = shelf(*[(plain,)] * 4)
    assert in_words(technique, [*numbered, *others]) == "net_{16, 24, 32}_epochs"


def test_records_are_of_the_fixed_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "techniques.json"
    only = [f"--only={name}" for name in ("SAM", "channels_last")]
    tiny = ("--arch=small_resnet", "--resolution=16", "--batch=16", "--seconds=0.001", "--precision=fp32")
    assert main([*tiny, *only, f"--json={file}"]) == 0
    found = records.read(file)
    for record in found:
        records.check(record)
    assert [record["ours"] for record in found] == ["SAM", "channels_last"]
    assert "training.sam_rho=0.05" in capsys.readouterr().out


def test_every_measured_technique_has_a_step(tmp_path: Path) -> None:
    from benchmarks.stages.techniques import _parse
    from benchmarks.stages.techniques import PLAIN

    assert _parse([]).arch == "resnet50"
    for technique in MEASURED:
        asked = {key: "w.pt" if value == WEIGHTS else value for key, value in technique.options.items()}
        step_config("resnet50", 16, {**PLAIN, **asked})
        step_config("resnet50", 16, {**PLAIN, **technique.without})


@pytest.mark.parametrize(
    ("text", "message"), [("no tables", "has no tables"), ("<!-- table: x -->\n<!-- end -->", "no table 'x'")]
)
def test_a_page_that_cannot_be_written_is_refused_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match=message):
        write_tables(page)
    with pytest.raises(UserError, match="can't be read"):
        write_tables(tmp_path / "none.md")
