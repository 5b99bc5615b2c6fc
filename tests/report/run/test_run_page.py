"""The report page: every part present, well formed, harmless whatever the log holds, self-contained."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from engine.cli.report import main
from engine.errors import UserError
from engine.report.drawing.charts import clean
from tests.report.runs import (
    adapted_log,
    alarm_line,
    demo_log,
    epoch_lines,
    render,
    result_line,
    run_config,
    start_line,
    steps_lines,
    whole_log,
)

VOID = {"meta", "br", "link", "img", "input", "hr"}
REFERENCE = {
    "source": "ffcv-imagenet",
    "top1": 0.738,
    "tta": True,
    "minutes": 14.9,
    "hardware": "8 × A100",
}


class Page(HTMLParser):
    """A page taken apart: its tags and text; every tag has to be closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text with white space evened out."""
        return " ".join(" ".join(self.texts).split())


def _charts(page: str) -> dict[str, ElementTree.Element]:
    """Title -> chart; every inline SVG has to be well-formed XML, the legends' little ones too."""
    drawn = [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    return {svg.findtext("title") or "": svg for svg in drawn if svg.find("title") is not None}


def _unvalidated(epochs: int) -> list[dict[str, Any]]:
    """Epochs of a run with log_level 0: only the last one is validated."""
    lines = epoch_lines(epochs)
    for line in lines[:-1]:
        line |= dict.fromkeys(("top1", "top5", "top1_no_tta", "top5_no_tta", "val_loss"))
    return lines


def _with_steps(epochs: int, lines: int = 25) -> list[dict[str, Any]]:
    """A finished run whose log tells of the loss within its epochs too, from 7.0 down."""
    start, *told, result = whole_log(epochs)
    within = [
        steps_lines(epoch, [2 + 5 / (lines * (epoch - 1) + number) for number in range(1, lines + 1)])
        for epoch in range(1, epochs + 1)
    ]
    return [
        start,
        *(line for epoch, steps in zip(told, within, strict=True) for line in (*steps, epoch)),
        result,
    ]


NO_GOAL: dict[str, Any] = {"met": None, "target_top1": None, "budget_seconds": None}

LOGS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "started": [start_line()],
    "one epoch": [start_line(), *epoch_lines(1)],
    "running": [start_line(), *epoch_lines(16)[:5]],
    "quiet": [start_line(), *_unvalidated(4), result_line(epoch_lines(4)[-1])],
    "never validated": [start_line(), *_unvalidated(4)[:3]],
    "speedrun": demo_log(),
    "finished": whole_log(16),
    "long": whole_log(88),
    "very long": whole_log(600),
    "losses within epochs": _with_steps(88),
    "losses before an epoch": [start_line(), *steps_lines(1, [6.9, 6.2])],
    "no target": whole_log(3, **NO_GOAL, verdict="74.00% top-1 in 3 min"),
    "adapted": [*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]],
    "re-plan of nulls": [
        *adapted_log()[:6],
        dict.fromkeys(adapted_log()[5]) | {"kind": "replan", "at": 4.0, "length": 14.0},
        dict.fromkeys(alarm_line(4)) | {"kind": "alarm", "epoch": 4},
    ],
    "only validated": [start_line(), result_line(epoch_lines(1)[0], elapsed_seconds=0.0, weights=None)],
    "all unknown": [{"kind": "start"}, {"kind": "epoch", "epoch": 1}, {"kind": "result"}],
    "all null": [
        dict.fromkeys(start_line()) | {"kind": "start"},
        dict.fromkeys(steps_lines(1, [2.0])[0]) | {"kind": "steps"},
        dict.fromkeys(steps_lines(1, [2.0])[0]) | {"kind": "steps", "epoch": 1, "step": 1},
        dict.fromkeys(epoch_lines(1)[0]) | {"kind": "epoch", "epoch": 1},
        dict.fromkeys(whole_log(1)[-1]) | {"kind": "result"},
    ],
}


@pytest.mark.parametrize("log", LOGS, ids=list(LOGS))
def test_every_log_gives_a_well_formed_small_page(log: str) -> None:
    page = render(run_config(reference=REFERENCE), LOGS[log])
    parsed = Page(page)
    _charts(page)
    assert len(page.encode()) < 200_000
    assert "nan" not in re.findall(r"[a-z]+", re.sub(r"<style>.*?</style>", "", page))
    assert "None" not in parsed.text
    identifiers = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("log", LOGS, ids=list(LOGS))
def test_page_has_no_external_resource_or_script(log: str) -> None:
    page = render(run_config(reference=REFERENCE), LOGS[log])
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base"}
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "srcset")}
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_headline_shows_result_and_tiles_show_target() -> None:
    text = Page(render(run_config(), demo_log())).text
    for part in (
        "Target met",
        "92.31% top-1 in 2 min 16 s",
        "Target met: 92.31% top-1",
        "Target 92.00% 0.31 points above",
        "Budget 3 min 44.2 s to spare",
        "Plain top-1 92.00% 28 px, crop ratio 1, no TTA",
        "Throughput 2,371 img/s",
        "Waiting for data 5.1%",
        "demo · small_resnet · 60,000 training images · 10 classes",
    ):
        assert part in text


def test_missed_target_shows_gap_and_delay() -> None:
    log = demo_log(met=False, top1=0.9142, elapsed_seconds=200.0, verdict="target missed")
    page = render(run_config(), log)
    text = Page(page).text
    assert "Target missed" in text
    assert "Target met" not in text
    assert "0.58 points short" in text
    assert "20.0 s late" in text
    assert 'class="card head bad"' in page


def test_page_without_target_mentions_no_goal() -> None:
    text = Page(render(run_config(), LOGS["no target"])).text
    assert "No target set" in text
    for word in ("Target met", "Target missed", "Budget", "points above", "goal"):
        assert word not in text


def test_validated_only_run_has_no_time_and_no_figures() -> None:
    page = render(run_config(budget={"target_top1": 0.735, "minutes": 20.0}), LOGS["only validated"])
    text = Page(page).text
    assert "Target 73.50%" in text
    assert "74.00% top-1" in text
    assert "Budget" not in text
    assert " in 0.0 s" not in text.replace("\u00a0", " ").split("Settings")[0]
    assert _charts(page) == {}


def test_unfinished_run_shows_progress() -> None:
    page = render(run_config(budget={"target_top1": 0.735, "minutes": 20.0}), LOGS["running"])
    assert "Not finished" in page
    assert "Epoch 5 of 16:" in page
    assert '<progress max="16" value="5"' in page
    assert "Budget 20 min for the whole run" in Page(page).text


def test_finished_run_has_every_chart_and_its_target() -> None:
    drawn = _charts(render(run_config(), demo_log()))
    assert list(drawn) == [
        "Accuracy against time",
        "Where the time went",
        "Loss by epoch",
        "Training throughput by epoch",
        "Learning rate by epoch",
        "Resolution by epoch",
    ]
    words = list(drawn["Accuracy against time"].itertext())
    for part in ("top-1 accuracy", "training clock, minutes", "target 92.0%", "budget 3 min", "92.31%"):
        assert part in words
    assert "epoch 5, 2 min 16 s: 92.31%, no TTA 92.00%" in words
    assert "epoch 1: computing 23.8 s, waiting for data 4.1 s, validation 1.9 s" in " ".join(
        drawn["Where the time went"].itertext()
    )
    assert "epoch 5: 2,435 images/s at 28 px" in " ".join(drawn["Training throughput by epoch"].itertext())
    assert "epoch 5: 28 px" in list(drawn["Resolution by epoch"].itertext())
    assert all(svg.findtext("desc") for svg in drawn.values())


def test_step_losses_are_spread_over_their_epoch() -> None:
    page = render(run_config(), _with_steps(4))
    chart = _charts(page)["Loss by epoch"]
    (within,) = (part for part in chart.iter("path") if part.get("class") == "line second faint")
    points = [tuple(map(float, pair.split())) for pair in within.attrib["d"][1:].split("L")]
    _, _, width, _ = map(float, chart.attrib["viewBox"].split())
    # Four epochs of 25 lines each fill the plot between its margins, and the loss only falls.
    left, right = 46, width - 14
    wanted = [left + (right - left) * number / 100 for number in range(1, 101)]
    assert [x for x, _ in points] == pytest.approx(wanted, abs=0.06)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert "training within epochs" in Page(page).text
    assert "training within epochs" not in Page(render(run_config(), whole_log(4))).text


@pytest.mark.parametrize(
    "log",
    ["one epoch", "running", "quiet", "speedrun", "long", "very long", "no target", "losses within epochs"],
)
def test_chart_parts_stay_inside_the_chart(log: str) -> None:
    config = run_config(budget={"target_top1": 0.735, "minutes": 20.0})
    for title, svg in _charts(render(config, LOGS[log])).items():
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for part in svg.iter():
            for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height)):
                assert 0 <= float(part.attrib.get(name, 0)) <= most, (title, part.attrib)
            if part.tag == "rect":
                assert float(part.attrib["x"]) + float(part.attrib["width"]) <= width
                assert float(part.attrib["y"]) + float(part.attrib["height"]) <= height
        ends = [text for text in svg.iter("text") if "end" in text.attrib["class"].split()]
        assert all(float(text.attrib["x"]) > 7 * len(text.text or "") - 15 for text in ends), title


def test_report_names_waiting_for_data() -> None:
    slow = epoch_lines(3)
    for line in slow:
        line |= {
            "data_wait_seconds": 0.8 * line["train_seconds"],
            "compute_seconds": 0.2 * line["train_seconds"],
        }
    text = Page(render(run_config(), [start_line(), *slow])).text
    assert "Reading and decoding images set the pace" in text
    assert "The model's arithmetic set the pace" in Page(render(run_config(), demo_log())).text


def test_table_has_every_epoch_and_no_empty_column() -> None:
    page = render(run_config(), demo_log())
    table = page.split('aria-label="Table of epochs"')[1].split("</table>")[0]
    assert [row.split("</td>")[0] for row in table.split("<tr><td>")[1:]] == ["1", "2", "3", "4", "5"]
    for cell in ("84.20%", "92.31%", "92.00%", "2:16", "1.7"):
        assert f"<td>{cell}</td>" in table
    assert "host" in table
    assert "device" not in table
    assert "NaN" not in table


def test_long_table_is_thinned_and_keeps_last_epoch() -> None:
    page = render(run_config(), LOGS["very long"])
    assert "120 of 600 epochs; log.jsonl has them all." in page
    assert "<tr><td>600</td>" in page


def test_results_are_listed_with_measurement_settings() -> None:
    text = Page(render(run_config(), whole_log(16))).text
    assert "as the recipe validates 74.00% 92.27% 256 px, crop ratio 0.875, with flip TTA" in text
    assert "the same, no TTA 73.40% 91.92% 256 px, crop ratio 0.875, no TTA" in text
    assert "plain 72.57% 91.66% 224 px, crop ratio 0.875, no TTA" in text
    assert "measured on 50,000 images" in text


def test_mean_over_classes_is_shown_where_it_was_measured() -> None:
    *lines, result = whole_log(2)
    uneven = [line | {"mean_class_top1": 0.3333} if line["kind"] == "epoch" else line for line in lines]
    result |= {"mean_class_top1": 0.3333, "ema_mean_class_top1": 0.2512}
    page = Page(render(run_config(), [*uneven, result])).text
    assert "Mean of the classes’ top-1: 33.33% , of the averaged weights 25.12%" in page
    assert "balanced accuracy" in page and "Training images per class" not in page
    assert page.count("33.33%") >= 3 and "by class" in page
    start = uneven[0] | {"class_images": [4000, 12, 0, 300, 70]}
    chosen = run_config(data={"balance": "sqrt"}, loss={"class_weights": "none"})
    sizes = "Training images per class: 12 to 4,000, median 185; data.balance=sqrt, loss.class_weights=none."
    assert sizes in Page(render(chosen, [start, *uneven[1:], result])).text
    assert "Mean of the classes" not in Page(render(run_config(), whole_log(2))).text


def test_published_figures_are_labelled_and_not_plotted() -> None:
    page = render(run_config(reference=REFERENCE), whole_log(16))
    said = "Published by ffcv-imagenet, not ours: 73.80% top-1 , with TTA, 14 min 54 s, on 8 × A100."
    assert said in Page(page).text
    for svg in _charts(page).values():
        words = " ".join(svg.itertext())
        assert "73.80%" not in words
        assert "ffcv" not in words
    assert "Published by" not in render(run_config(), whole_log(16))


def test_published_curve_is_tabulated_beside_ours() -> None:
    curve = {**REFERENCE, "curve": "1:0.19, 16:0.738, 20:0.75", "note": "a note", "citation": "a paper"}
    lines = whole_log(16)
    ours = next(line["top1"] for line in lines if line.get("epoch") == 1)
    page = render(run_config(reference=curve), lines)
    text = Page(page).text
    assert f"1 19.00% {100 * ours:.2f}% 16 73.80% 74.00% 20 75.00% –" in text
    assert "a note. a paper." in text
    assert "Top-1 by epoch" not in render(run_config(reference=REFERENCE), lines)
    # As an older or newer version may have written it.
    assert "Top-1 by epoch" not in render(run_config(reference={**REFERENCE, "curve": "soon"}), lines)


def test_changed_settings_show_defaults_and_all_are_listed() -> None:
    page = render(run_config(lr={"lr": 1.7}), demo_log())
    assert "<dt>lr</dt><dd>1.7<span>default 0.5</span></dd>" in page
    every = page.split("<summary>All options</summary>")[1]
    assert '<dt class="changed">lr</dt><dd class="changed">1.7</dd>' in every
    assert "<dt>momentum</dt><dd>0.9</dd>" in every
    assert "3 of the options differ" in page  # lr, and the two data files


def test_settings_of_another_version_are_shown() -> None:
    page = render({"lr": {"lr": 0.5, "gone": 3}, "old": {"x": 1}}, [])
    assert "<dt>gone</dt><dd>3</dd>" in page
    assert "<dt>x</dt><dd>1</dd>" in page


def test_page_shows_revision_machine_and_command() -> None:
    text = Page(render(run_config(), whole_log(2))).text
    for part in (
        "0123456789ab, with uncommitted changes",
        "Some Processor 9000, 96 cores, 1121.0 GB",
        "8 × NVIDIA H200",
        "torch 2.15.0",
        "8 × cuda, bf16, global batch 1024 (per device 128, 1 accumulated)",
        "python train_imagenet.py -C rn50_configs/rn50_16_epochs.yaml",
        "2026-11-21 12:00:00 +00:00",
    ):
        assert part in text


def test_weights_section_has_valid_code_and_command() -> None:
    config = run_config(model={"arch": "resnet50"}, training={"use_blurpool": True})
    log = whole_log(2)
    log[0]["folder"] = "my runs/it's"
    blocks = re.findall(r"<pre[^>]*>(.*?)</pre>", render(config, log), re.DOTALL)
    load, measure = (Page(f"<p>{block}</p>").texts[0] for block in blocks[:2])
    compile(load, "report", "exec")
    assert "build_model('resnet50', 1000, use_blurpool=True)" in load
    assert """torch.load("my runs/it's/weights.pt", weights_only=True)""" in load
    assert "--training.eval_only=true" in measure
    assert """-C 'my runs/it'"'"'s/config.yaml'""" in measure


def test_run_without_weights_has_no_weights_section() -> None:
    assert "weights.pt" not in render(run_config(), whole_log(2, weights=None))


HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror='y'>\"\x00\x1b[31m\ud800&lt;"


def test_text_with_html_anywhere_is_escaped() -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key if key == "kind" else poison_key(key): poison(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [poison(inner) for inner in value]
        return HOSTILE if isinstance(value, str) and value not in ("start", "epoch", "result") else value

    def poison_key(key: str) -> str:
        return key if key in known else HOSTILE

    log = whole_log(3)
    known = {name for line in log for name in line} | {"cpu", "cores", "memory_gb", "gpus", "commit", "dirty"}
    config = {section: poison(options) for section, options in run_config(reference=REFERENCE).items()}
    config["reference"] = {
        key: HOSTILE if isinstance(value, str) else value for key, value in REFERENCE.items()
    }
    config[HOSTILE] = {HOSTILE: HOSTILE}
    page = render(config, [poison(line) for line in log])
    parsed = Page(page)
    _charts(page)
    page.encode()
    assert clean(HOSTILE) in page
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "img"})
    assert all(not name.startswith("on") for _, attributes in parsed.tags for name in attributes)


def test_report_verb_rewrites_the_report_of_every_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in (tmp_path / "stage1", tmp_path / "stage2"):
        stage.mkdir()
        (stage / "config.yaml").write_text(yaml.safe_dump(run_config(), sort_keys=False))
        (stage / "log.jsonl").write_text("\n".join(json.dumps(line) for line in demo_log()))
    assert main([str(tmp_path)]) == 0
    drawn = [tmp_path / f"stage{number}" / "report.html" for number in (1, 2)]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in drawn]
    assert all("92.31%" in path.read_text() for path in drawn)


def test_report_verb_rewrites_the_report_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run_config(), sort_keys=False))
    rows = "\n".join(json.dumps(line) for line in demo_log())
    (tmp_path / "log.jsonl").write_text(rows + '\n{"kind": "ep')
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(run_config(), demo_log())
    printed = capsys.readouterr().out
    assert "1 line(s)" in printed
    assert str(tmp_path / "report.html") in printed


@pytest.mark.parametrize("content", [None, "- a\n- b", "a: [", "a: 1", ""])
def test_report_verb_refuses_other_folders(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match="run's"):
        main([str(tmp_path)])
    assert not (tmp_path / "report.html").exists()


def test_adapted_run_shows_replans_predictions_and_alarms() -> None:
    config = run_config(budget={"minutes": 20.0, "adapt": True, "price": 32.77})
    log = [*adapted_log()[:3], alarm_line(2, causes=["<b>crop</b>"]), *adapted_log()[3:]]
    page = render(config, log)
    text = Page(page).text
    for words in (
        "Planned length",
        "Predicted end",
        "training is slower than planned: 14,100 images/s",
        "Predicted top-1 73.80% 73.40% to 74.20%; reached 74.00%, inside",
        "Warning: accuracy far below other runs",
        "top-1 42.13%, where runs of this family have 54.10% ± 0.60",
        "Time to target 18 min 17 s",
        "Cost 9.70 at 32.77 per hour",
    ):
        assert words in text, words
    assert "<b>crop" not in page


def test_replans_without_their_figures_are_listed() -> None:
    log = [*whole_log(4)[:3], {"kind": "replan", "at": 2.0, "length": 3.5}, *whole_log(4)[3:]]
    text = Page(render(run_config(), log)).text
    assert "Re-plans" in text and "3.5" in text and "Planned length" not in text


@pytest.mark.parametrize(("met", "badge"), [(True, "Time limit kept"), (False, "Time limit missed")])
def test_run_with_a_time_limit_alone_is_judged_by_it(met: bool, badge: str) -> None:
    text = Page(render(run_config(), demo_log(target_top1=None, met=met, verdict="time limit"))).text
    assert badge in text and "Target m" not in text


def test_early_spikes_do_not_flatten_the_loss_axis() -> None:
    lines = epoch_lines(16)
    for number, line in enumerate(lines):
        line["train_loss"], line["val_loss"] = 1.5 - number / 20, 1.2 - number / 30
    calm = [start_line(), *lines]
    spiked = [start_line(), lines[0] | {"val_loss": 400.0}, *lines[1:]]
    ticks = [_ticks(render(run_config(), log)) for log in (calm, spiked)]
    assert ticks[0] == ticks[1] and max(map(float, ticks[1])) < 3
    assert "1 of 32 values are above the figure, up to 400." in Page(render(run_config(), spiked)).text
    assert "above the figure" not in render(run_config(), calm)


def _ticks(page: str) -> list[str]:
    """What the loss figure's upright axis names."""
    svg = next(chart for name, chart in _charts(page).items() if "Loss" in name)
    return [one.text or "" for one in svg.iter() if one.get("class") == "tick end"]
