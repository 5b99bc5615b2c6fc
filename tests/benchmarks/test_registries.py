"""The registries: what is registered is found, documented and shown; an unknown name is one line."""

import importlib
import pickle
import re
from pathlib import Path

import pytest

from benchmarks import commands, stages
from benchmarks.__main__ import main, usage
from benchmarks.commands import COMMANDS
from benchmarks.records.layouts import LAYOUTS
from benchmarks.sides import OURS, PEERS, Side, opponent, our_side, peer_side, register
from benchmarks.stages import STAGES
from engine.errors import UserError

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
SIDES = [
    pytest.param(side, id=f"{stage}-{name}")
    for registry in (OURS, PEERS)
    for stage, entries in registry.items()
    for name, side in entries.items()
]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_a_file_with_a_main(stage: str) -> None:
    assert callable(stages.entry(stage))
    assert (ROOT / "benchmarks" / "stages" / f"{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_stage_has_a_table_and_a_test_file(stage: str) -> None:
    # Records of these compare nothing.
    assert (stage in LAYOUTS) == (stage not in ("accuracy", "contract", "family", "trace"))
    assert (ROOT / "tests" / "benchmarks" / "stages" / f"test_{stage}.py").is_file()


def test_every_file_in_stages_is_registered() -> None:
    files = {path.stem for path in (ROOT / "benchmarks" / "stages").glob("*.py")}
    assert files - {"__init__"} == set(STAGES)


def test_document_lists_every_stage_and_command_in_order() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", DOC, re.M)
    listed = [name for row in rows for name in re.findall(r"`([a-z]+)`", row)]
    assert listed == [*STAGES, *COMMANDS]


def test_document_lists_every_peer_of_the_loader() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)`", DOC))
    assert set(PEERS["loader"]) <= named


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if stage.short])
def test_stage_accepts_its_short_options(stage: str) -> None:
    module = importlib.import_module(f"benchmarks.stages.{stage}")
    for each in STAGES[stage].short:
        options = module._parse(each.argv())
        assert hasattr(options, "data") == each.takes_images


def test_only_these_stages_lack_a_short_version() -> None:
    without = {name for name, stage in STAGES.items() if not stage.short}
    others = {"augment", "blurpool", "export", "predict", "remote", "trace"}
    assert without == {"accuracy", "contract", "family", "techniques"} | others


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_a_main(command: str) -> None:
    assert callable(commands.entry(command))


def test_usage_lists_every_stage_and_command() -> None:
    lines = usage().splitlines()
    for name, words in {**{name: stage.help for name, stage in STAGES.items()}, **COMMANDS}.items():
        assert any(line.split() == [name, *words.split()] for line in lines), name


def test_unknown_stage_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no stage 'lodar' .did you mean 'loader'") as caught:
        main(["lodar"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", SIDES)
def test_side_can_be_sent_to_a_process_and_its_module_exists(side: Side) -> None:
    assert pickle.loads(pickle.dumps(side)) == side
    module, _, function = side.entry.partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    assert re.search(rf"^(def|class) {function}\b", file.read_text(encoding="utf-8"), re.M)


def test_unknown_side_is_refused_with_the_nearest_name() -> None:
    for find in (peer_side, lambda stage, name: opponent(stage, "jpeg", name)):
        with pytest.raises(UserError, match=r"no peer 'tim' .did you mean 'timm'") as caught:
            find("loader", "tim")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"no side of ours 'jpg' .did you mean 'jpeg'"):
        our_side("decode", "jpg")


def test_name_is_registered_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "loader", dict(PEERS["loader"]))
    register("loader", "new", Side(entry="nowhere:open_side"))
    with pytest.raises(ValueError, match="'new' of stage 'loader' is registered twice"):
        register("loader", "new", Side(entry="nowhere:open_side"))


def test_self_is_our_side_and_replay_reads_our_storage() -> None:
    assert opponent("loader", "raw", "self") == our_side("loader", "raw")
    assert opponent("train", "raw", "replay").storage == "raw"
