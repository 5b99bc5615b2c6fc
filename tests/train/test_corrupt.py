"""data.decoder, data.verify and data.corrupt end to end: what a damaged image, or a file cut short, does to a run."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.errors import UserError
from tests.data.betons import drop_checksums, overwrite, record
from tests.shapes import write_shapes
from tests.train.conftest import ROOT, Launch, command, log_of, train_here

Options = Callable[..., list[str]]
Files = Callable[[str], dict[str, Path]]

BAD = 41
WATCHDOG_SECONDS = 300


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "images")


@pytest.fixture
def files(images: Path, tmp_path: Path) -> Files:
    """The shapes in this format: the test's own train.beton and val.beton, by split."""

    def write(storage: str) -> dict[str, Path]:
        output = OutputConfig(folder=str(tmp_path / "data"), format=storage, num_workers=1)
        paths = convert(WriteConfig(source=SourceConfig(path=str(images)), output=output))
        return {"train": paths["train"], "val": paths["val"]}

    return write


def _damage(path: Path, storage: str) -> str:
    """Damage one image: a byte flipped, which only its checksum tells, or a JPEG that is none; returns its name."""
    beton = open_beton(path)
    assert beton.manifest is not None
    if storage == "jpeg":
        drop_checksums(path)
        overwrite(beton, BAD % beton.num_samples, bytes(32))
    else:
        data = record(beton, BAD % beton.num_samples)
        overwrite(beton, BAD % beton.num_samples, bytes([data[100] ^ 1]), offset=100)
    return f"{path}: sample {BAD % beton.num_samples} ({beton.manifest.ids[BAD % beton.num_samples]})"


def _options(options: Options, paths: dict[str, Path], **changes: object) -> list[str]:
    data = {"data__train_dataset": paths["train"], "data__val_dataset": paths["val"]}
    return options(training__epochs=2, **data, **changes)


# As processes


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["yuv420", "jpeg"])
def test_skip_names_and_counts_the_corrupt_image(
    files: Files, options: Options, launch: Launch, storage: str, tmp_path: Path
) -> None:
    paths = files(storage)
    name = _damage(paths["train"], storage)
    done = launch(
        _options(options, paths, data__corrupt="skip", logging__name="skip"), timeout=WATCHDOG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "left out" in line]
    assert line.startswith(f"note: left out: {name} can't be used: ")
    epochs = log_of(tmp_path / "runs" / "skip", "epoch")
    assert [(entry["images"], entry["skipped"]) for entry in epochs] == [(95, 1), (95, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "reason"), [("yuv420", "wrong checksum"), ("jpeg", "JPEG data is damaged")]
)
def test_stop_ends_with_one_error_line(
    files: Files, options: Options, launch: Launch, storage: str, reason: str
) -> None:
    paths = files(storage)
    name = _damage(paths["train"], storage)
    done = launch(_options(options, paths), timeout=WATCHDOG_SECONDS)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {name} can't be used: ") and reason in line
    assert "--data.corrupt=skip" in line


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "order"), [("jpeg", "random"), ("yuv420", "pages")])
def test_file_cut_short_during_a_run_is_one_error_line(
    files: Files, options: Options, tmp_path: Path, storage: str, order: str
) -> None:
    paths = files(storage)
    argv = _options(options, paths, data__order=order, logging__name="cut", data__window_mb=8)
    argv += ["--training.epochs=1000", "--logging.log_level=1"]
    with open(tmp_path / "err", "w+") as errors:
        run = subprocess.Popen(command(argv), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            log, deadline = tmp_path / "runs" / "cut" / "log.jsonl", time.monotonic() + WATCHDOG_SECONDS
            while not (log.is_file() and '"kind": "epoch"' in log.read_text()):
                assert run.poll() is None and time.monotonic() < deadline, (tmp_path / "err").read_text()
                time.sleep(0.05)
            os.truncate(paths["train"], int(open_beton(paths["train"]).images["data_ptr"][BAD]))
            assert run.wait(WATCHDOG_SECONDS) == 2
        finally:
            run.kill()
            run.wait()
        errors.seek(0)
        (line,) = errors.read().strip().splitlines()
    assert line.startswith(f"error: {paths['train']} ")
    assert "cut short" in line or "became shorter" in line


# In this process


def test_damaged_validation_image_is_left_out_and_counted(
    files: Files,
    options: Options,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    paths = files("yuv420")
    name = _damage(paths["val"], "yuv420")
    with pytest.raises(UserError, match=r"val\.beton: sample 4 .*wrong checksum"):
        train_here(_options(options, paths))
    code, folder = train_here(_options(options, paths, data__corrupt="skip"))
    (result,) = log_of(folder, "result")
    assert (code, result["num_val"]) == (0, 36)
    assert capsys.readouterr().out.count(f"note: left out: {name}") == 1
    weights = {"training__eval_only": True, "model__weights": folder / "weights.pt"}
    code, folder = train_here(_options(options, paths, data__corrupt="skip", **weights))
    (alone,) = log_of(folder, "result")
    assert (code, alone["num_val"], alone["top1"]) == (0, 36, result["top1"])
    assert capsys.readouterr().out.count(f"note: left out: {name}") == 1


@pytest.mark.parametrize("verify", ["always", "first-epoch", "never"])
def test_verify_decides_whether_a_flipped_byte_is_noticed(
    files: Files, options: Options, verify: str
) -> None:
    paths = files("yuv420")
    name = _damage(paths["train"], "yuv420")
    argv = _options(options, paths, data__verify=verify)
    if verify == "never":
        _, folder = train_here(argv)
        assert [entry["skipped"] for entry in log_of(folder, "epoch")] == [0, 0]
    else:
        with pytest.raises(UserError) as caught:
            train_here(argv)
        assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("decoder", "name"), [("auto", "yuv420"), ("cpu", "yuv420"), ("packed", "yuv420-packed")]
)
def test_decoder_of_the_recipe_is_used_and_printed(
    files: Files,
    options: Options,
    capsys: pytest.CaptureFixture[str],
    decoder: str,
    name: str,
) -> None:
    paths = files("yuv420")
    code, folder = train_here(_options(options, paths, data__decoder=decoder))
    assert code == 0 and len(log_of(folder, "epoch")) == 2
    printed = capsys.readouterr().out.splitlines()
    for path in paths.values():
        assert any(line.startswith(f"{path}: {name}: ") for line in printed)


def test_packed_decoder_with_jpeg_is_one_error_line(options: Options) -> None:
    with pytest.raises(UserError, match=r"which can't be packed: use data\.decoder=auto") as caught:
        train_here(options(data__decoder="packed"))
    assert "\n" not in str(caught.value)


def test_file_without_checksums_prints_a_note(
    files: Files, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = files("jpeg")
    drop_checksums(paths["train"])
    train_here(_options(options, paths))
    notes = [line for line in capsys.readouterr().out.splitlines() if "has no checksums" in line]
    assert len(notes) == 1 and notes[0].startswith(f"note: {paths['train']} ")
