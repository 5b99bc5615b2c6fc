"""A network on the demo's page: what it answers, what it is called, what is said of it."""

import random
from pathlib import Path

import pytest

from engine.data.beton.reader import open_beton
from engine.data.storage.jpeg import JPEG
from engine.demo.demo_page import Answer, BadPicture, Limits, answers
from engine.demo.shown_model import ShownModel, names_of
from engine.demo.val_samples import samples_of, validation_file
from engine.errors import UserError
from engine.predict.predictor import Predictor
from engine.predict.trained import load_trained
from tests.shapes import CLASSES

MUTATED = 100


@pytest.fixture(scope="module")
def model(shown_runs: list[Path]) -> ShownModel:
    return ShownModel(load_trained(shown_runs[0], device="cpu"), "one")


@pytest.fixture(scope="module")
def photo(shown_runs: list[Path]) -> bytes:
    return next(path for path in sorted(shown_runs[0].parent.glob("images/val/*/*.JPEG"))).read_bytes()


def test_answer_is_the_predictors(model: ShownModel, shown_runs: list[Path], photo: bytes) -> None:
    with Predictor(shown_runs[0], device="cpu") as predictor:
        expected = predictor.predict(photo, top_k=5).top
        seen = predictor.preprocessor().image(photo)
    answer = model.answer(photo, explain=False)
    assert answer.top == [(guess.name, guess.probability) for guess in expected]
    assert answer.heat is None and (answer.seen == seen).all()


def test_heat_lies_over_what_the_network_sees(model: ShownModel, photo: bytes) -> None:
    pytest.importorskip("pytorch_grad_cam")
    answer = model.answer(photo, explain=True)
    assert answer.heat is not None and answer.heat.shape == answer.seen.shape == (32, 32, 3)
    assert (answer.heat != answer.seen).any()


def test_facts_name_what_it_reached_and_no_path(model: ShownModel, shown_runs: list[Path]) -> None:
    facts = dict(model.facts)
    assert facts["Network"].startswith("small_resnet with BlurPool, 0.")
    assert facts["Reached"] == (
        "top-1 62.50%, top-5 99.00% of 37 validation images at 32 px, mean with the mirror image"
    )
    assert (facts["Trained by"], facts["Licence note"]) == ("tiny, seed 3", "free for research")
    assert not any("/" in value for value in facts.values())


def test_models_get_different_names(shown_runs: list[Path]) -> None:
    one, two = (load_trained(run, device="cpu") for run in shown_runs)
    file = load_trained(shown_runs[0] / "weights.pt", device="cpu")
    assert names_of([one, two]) == ["one", "two"]
    assert names_of([one, file, two]) == ["one/model.safetensors", "one/weights.pt", "two"]
    assert names_of([one, one]) == [f"one/model.safetensors ({number})" for number in (1, 2)]


def test_mutated_images_get_one_line_or_an_answer(
    model: ShownModel, photo: bytes, shown_runs: list[Path]
) -> None:
    draw = random.Random(0)
    lines = []
    for _ in range(MUTATED):
        content = bytearray(photo)
        for _ in range(draw.choice((1, 3, 30))):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        (said,) = answers([model], bytes(content), Limits(), explain=False)
        if isinstance(said, str):
            lines.append(said)
        else:
            assert len(said.top) == 5
    assert 10 < len(lines) < MUTATED
    for line in lines:
        assert "\n" not in line and len(line) < 200, line
        assert "/" not in line and "Error" not in line and "0x" not in line, line


def test_broken_picture_is_refused_for_the_visitor(model: ShownModel, photo: bytes) -> None:
    with pytest.raises(
        BadPicture, match=r"^This picture can't be used: it is cut short.*\. Choose another one\.$"
    ):
        model.answer(photo[: len(photo) // 2], explain=False)


def test_samples_are_of_every_class(shown_runs: list[Path]) -> None:
    trained = load_trained(shown_runs[0], device="cpu")
    beton = open_beton(validation_file(trained))
    assert [sample.label for sample in samples_of(beton, trained)] == list(CLASSES)
    assert [sample.label for sample in samples_of(beton, trained, 3)] == [CLASSES[0], CLASSES[2], CLASSES[4]]
    more = samples_of(beton, trained, 8)
    assert [sample.label for sample in more[6:]] == list(CLASSES[:2])
    assert len({sample.content for sample in more}) == 8
    found = answers([ShownModel(trained, "one")], more[7].content, Limits())
    assert isinstance(found[0], Answer)


def test_damaged_sample_is_left_out(shown_runs: list[Path], tmp_path: Path) -> None:
    trained = load_trained(shown_runs[0], device="cpu")
    content = bytearray(validation_file(trained).read_bytes())
    beton = open_beton(validation_file(trained))
    jpeg = next(row for row in range(6) if beton.images["mode"][row] == JPEG.mode)
    place = int(beton.images["data_ptr"][jpeg])
    content[place : place + int(beton.sizes[jpeg])] = bytes(int(beton.sizes[jpeg]))
    (tmp_path / "val.beton").write_bytes(content)
    sound = [sample.content for sample in samples_of(beton, trained, 37)]
    left = [sample.content for sample in samples_of(open_beton(tmp_path / "val.beton"), trained, 37)]
    assert len(left) == len(sound) - 1 and set(left) < set(sound)


def test_weights_without_a_run_name_no_validation_file(shown_runs: list[Path], tmp_path: Path) -> None:
    alone = tmp_path / "weights.pt"
    alone.write_bytes((shown_runs[0] / "weights.pt").read_bytes())
    with pytest.raises(UserError, match="give a file with --val"):
        validation_file(load_trained(alone, device="cpu"))
