"""The teacher of a distillation: what its run or file says it is, or weights that timm publishes, renormalised."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import MEAN, STD
from engine.errors import UserError
from engine.models import from_timm
from engine.models.build import build_model
from engine.train.checkpoints.checkpoint_file import save
from engine.train.checkpoints.teacher import build_teacher

ROOT = Path(__file__).parents[3]


def _config(*argv: str) -> TrainConfig:
    sides = ["--resolution.min_res=16", "--resolution.max_res=24"]
    return load_train_config(["--data.train_dataset=t", "--data.val_dataset=v", *sides, *argv])[0]


def test_run_folder_says_what_the_teacher_is(tmp_path: Path) -> None:
    """BlurPool too, which no weight shows and loss.teacher_blurpool was needed for."""
    torch.manual_seed(0)
    model = build_model("small_resnet", 3, use_blurpool=True).eval()
    save(tmp_path / "weights.pt", model.state_dict())
    (tmp_path / "config.yaml").write_text(
        "model: {arch: small_resnet}\ntraining: {use_blurpool: true}\n"
        "data: {train_dataset: t.beton, val_dataset: v.beton}\n"
    )
    images = torch.randn(2, 3, 16, 16)
    teacher = build_teacher(_config(f"--loss.teacher={tmp_path}"), 3, None)
    torch.testing.assert_close(teacher(images), model(images))


def test_teacher_that_cannot_take_the_images_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "vit.pt", timm.create_model("test_vit", num_classes=3).state_dict())
    config = _config(f"--loss.teacher={tmp_path / 'vit.pt'}", "--loss.teacher_arch=timm:test_vit")
    with pytest.raises(
        UserError, match=r"^loss\.teacher sees the student's images, and timm:test_vit can't take"
    ):
        build_teacher(config, 3, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss.teacher=timm:nosuchnet"], r"^loss\.teacher: timm .* has no network 'nosuchnet'"),
        (["--loss.teacher=nosuch"], r"^loss\.teacher: nosuch does not exist: give a run's folder"),
    ],
)
def test_teacher_that_is_not_there_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_teacher(_config(*words), 3, None)


def test_arch_beside_a_published_teacher_is_refused() -> None:
    with pytest.raises(UserError, match=r"names its network itself: drop loss\.teacher_arch"):
        _config("--loss.teacher=timm:resnet50", "--loss.teacher_arch=resnet50")


def test_renormalised_network_sees_its_own_normalisation() -> None:
    given = tuple(tuple(value / 255 for value in part) for part in (MEAN, STD))
    levels = torch.rand(2, 3, 4, 4)
    ours = (levels - torch.tensor(given[0])[:, None, None]) / torch.tensor(given[1])[:, None, None]
    seen = from_timm.Renormalised(torch.nn.Identity(), given, ((0.5,) * 3, (0.25,) * 3))(ours)
    torch.testing.assert_close(seen, (levels - 0.5) / 0.25)


# In a process of its own: what is offline, and where the cache is, are read at the import.
_PUBLISHED = """
import torch, timm
from engine.config.load import load_train_config
from engine.errors import UserError
from engine.train.checkpoints.teacher import build_teacher

def teacher(name, number, names=None):
    words = ["--data.train_dataset=t", "--data.val_dataset=v", "--resolution.min_res=32", "--resolution.max_res=32"]
    return build_teacher(load_train_config([*words, f"--loss.teacher=timm:{name}"])[0], number, names)

theirs = timm.create_model("test_resnet.r160_in1k", pretrained=True).eval()
levels = torch.rand(2, 3, 32, 32)
mean, std = (torch.tensor(part)[:, None, None] for part in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
with torch.no_grad():
    ours = teacher("test_resnet.r160_in1k", 1000).eval()((levels - mean) / std)
    print((ours - theirs((levels - 0.5) / 0.5)).abs().max().item())
swapped = ["n01443537", "n01440764"]
for case in (("test_resnet.r160_in1k", 10), ("test_resnet.r160_in1k", 1000, swapped), ("resnet18.a1_in1k", 1000)):
    try:
        teacher(*case)
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
def test_published_weights_teach_as_timm_has_them(tmp_path: Path) -> None:
    """From timm's cache, as after a download."""
    repository = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    torch.manual_seed(3)
    state = timm.create_model("test_resnet").state_dict()
    torch.save(state, repository / "snapshots" / "abc" / "pytorch_model.bin")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-c", _PUBLISHED]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    difference, *refused = done.stdout.splitlines()
    assert float(difference) < 1e-4
    for line, words in zip(
        refused,
        (
            "timm's weights teach ImageNet's 1,000 classes",
            "not those in that order",
            "timm gives no weights of resnet18.a1_in1k (",
        ),
        strict=True,
    ):
        assert line.startswith("loss.teacher: ") and words in line
