"""Which weights are read for a run or a file, and what is known of them."""

from pathlib import Path

import pytest
import torch

from engine.errors import UserError
from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model
from engine.predict.names import imagenet_ids, imagenet_names, readable_names
from engine.predict.trained import Given, load_trained
from tests.predict.conftest import CLASSES, card, save_run


def test_run_loads_with_its_card(run: Path) -> None:
    trained = load_trained(run, device="cpu")
    assert trained.card == card() and trained.path == run / "model.safetensors"
    assert not trained.model.training and not any(one.requires_grad for one in trained.model.parameters())
    assert any(isinstance(module, BlurConv2d) for module in trained.model.modules())
    assert trained.ids == trained.names == CLASSES
    (run / "weights.pt").samefile(load_trained(run, device="cpu", averaged=False).path)


def test_file_without_a_card_takes_what_is_given(tmp_path: Path) -> None:
    state = build_model("small_resnet", 4, use_blurpool=False).state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt does not say which network it is of: pass --arch NAME"):
        load_trained(tmp_path / "x.ckpt", device="cpu")
    trained = load_trained(tmp_path / "x.ckpt", device="cpu", given=Given(arch="small_resnet", resolution=48))
    assert (trained.card.num_classes, trained.card.preprocessing.resolution) == (4, 48)
    assert trained.ids == ["0", "1", "2", "3"]
    assert torch.equal(trained.model.state_dict()["fc.bias"], state["fc.bias"])


def test_names_file_must_name_each_output(run: Path, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("Katze\nHund\n\nAal\n")
    assert load_trained(run, device="cpu", names=tmp_path / "names").names == ["Katze", "Hund", "Aal"]
    (tmp_path / "names").write_text("Katze\nHund\n")
    with pytest.raises(UserError, match="has 2 names, and the network 3 outputs"):
        load_trained(run, device="cpu", names=tmp_path / "names")


def test_folder_without_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model\.safetensors, weights\.pt or checkpoints/last\.pt"):
        load_trained(tmp_path)
    with pytest.raises(UserError, match="does not exist: give a run's folder"):
        load_trained(tmp_path / "none")


def test_last_stage_of_a_run_is_taken(tmp_path: Path) -> None:
    for number in (1, 2):
        save_run(tmp_path / f"stage{number}", card(), seed=number)
    assert load_trained(tmp_path, device="cpu").path == tmp_path / "stage2" / "model.safetensors"


def test_imagenet_ids_get_torchvisions_names() -> None:
    ids, names = imagenet_ids(), imagenet_names()
    assert (ids[0], names[0], ids[482], names[482]) == ("n01440764", "tench", "n02979186", "cassette player")
    assert len(set(ids)) == 1000 and ids == sorted(ids)
    assert readable_names(ids) == readable_names([str(number) for number in range(1000)]) == names
    assert readable_names(ids[::-1]) == readable_names([str(n) for n in reversed(range(1000))]) == names[::-1]
    assert readable_names(["n01440764", "n99999999", "cat"]) == ["tench", "n99999999", "cat"]
    assert readable_names(["0", "1"]) == ["0", "1"] and readable_names(["cat", "dog"]) == ["cat", "dog"]
