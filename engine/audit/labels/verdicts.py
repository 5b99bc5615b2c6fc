"""The findings about labels from a network's predictions for both files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.audit.collection import Collection
from engine.audit.finding import FINE, FOUND, NOTE, Finding, shorten
from engine.audit.labels.class_gap import find_gaps
from engine.audit.labels.noise import Noise, estimate_noise
from engine.audit.labels.opinion import Opinion
from engine.audit.labels.permutation import Permutation, find_permutation, order_hint, unsure_labels
from engine.audit.pictures import Tile
from engine.errors import UserError

# Wrong labels are a finding if their share is certainly above this and above train's. The estimate for CIFAR-10's
# own test set, of which 0.5% is wrong, is below it.
_LEAST_NOISE = 0.01
# Images with at least this probability of a wrong label are listed.
_LIKELY = 0.5
# If for more than this share of the classes a permutation would not show, that none was found is no good news.
_UNSURE = 0.1


def check_labels(collection: Collection, train: Opinion, val: Opinion) -> tuple[list[Finding], list[Tile]]:
    """All findings, and tiles of the images of val that are named, the most certain first.

    Each check corrects for the findings of the checks before it. Raises UserError for a network that only guesses on
    train.
    """
    names = collection.labels.names
    ours = find_permutation(train.labels, train.predicted, train.classes)
    chance = 1 / train.classes
    if ours.after - chance < (1 - chance) * chance / 2:
        raise UserError(
            f"the network is right on {ours.before:.1%} of train, a guess on {chance:.1%}: "
            "use one that was trained on these classes"
        )
    findings = [_outputs(ours, names)]
    train, val = (opinion.reordered(ours.meaning) for opinion in (train, val))
    theirs = find_permutation(val.labels, val.predicted, val.classes)
    unsure = unsure_labels(val.labels, val.predicted, val.classes)
    findings.append(_permuted(theirs, names, unsure.tolist(), len(np.unique(val.labels))))
    val = val.relabelled(theirs.meaning)
    fallen = _gaps(train, val, names)
    findings.append(fallen)
    in_train, in_val = (estimate_noise(one.log_probabilities, one.labels) for one in (train, val))
    suspects = _suspects(collection, val, in_val)
    finding = _noise(in_train, in_val, suspects, undone=bool(theirs.cycles), fallen=fallen)
    findings.append(finding)
    return findings, [_tile(collection.train.num_samples, suspect) for suspect in suspects]


def _outputs(ours: Permutation, names: Sequence[str]) -> Finding:
    if not ours.cycles:
        verdict = f"the network has train's classes and is right on {ours.before:.1%} of train"
        return Finding(check="network", level=FINE, verdict=verdict, data={"train_top1": ours.before})
    return Finding(
        check="network",
        level=FOUND,
        verdict=f"its classes are in another order than train's: right on {ours.before:.1%} of train as labelled, on "
        f"{ours.after:.1%} after a permutation of {_moved(ours)} classes; the other checks use this permutation",
        details=_cycle_lines(ours, names),
        data=_permutation_data(ours, names),
    )


def _permuted(theirs: Permutation, names: Sequence[str], unsure: Sequence[int], present: int) -> Finding:
    """`unsure` are the labels for which a permutation would not show, of `present` that have images."""
    doubt = (
        f"; for {len(unsure)} of {present} classes it can't tell, since they have too few images or it confuses them: "
        "ask a better network, or give more images"
    ) * bool(unsure)
    data: dict[str, object] = {"unsure": [names[label] for label in unsure]}
    if not theirs.cycles:
        found = "none found in val" if unsure else "none in val"
        return Finding(
            check="permuted labels",
            level=NOTE if len(unsure) > _UNSURE * present else FINE,
            verdict=f"{found}; the network is right on {theirs.before:.1%} of it{doubt}",
            details=shorten([f"can't tell: {names[label]} ({label})" for label in unsure]),
            data={"val_top1": theirs.before, **data},
        )
    moved = [label for cycle in theirs.cycles for label in cycle]
    examples = ", ".join(f"{names[label]!r} shows {names[theirs.meaning[label]]!r}" for label in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return Finding(
        check="permuted labels",
        level=FOUND,
        verdict=f"the labels of val look permuted: accuracy as labelled {theirs.before:.1%}, after the permutation "
        f"{theirs.after:.1%}: label {examples}{more}{order_hint(theirs.meaning, names)}{doubt}",
        details=_cycle_lines(theirs, names),
        data={**_permutation_data(theirs, names), **data},
    )


def _moved(found: Permutation) -> int:
    return sum(map(len, found.cycles))


def _cycle_lines(found: Permutation, names: Sequence[str]) -> tuple[str, ...]:
    """Lines on which label shows which class, cycle by cycle."""
    return shorten(
        [
            f"labelled {names[label]!r} ({label}), shows {names[found.meaning[label]]!r} ({found.meaning[label]})"
            for cycle in found.cycles
            for label in cycle
        ]
    )


def _permutation_data(found: Permutation, names: Sequence[str]) -> dict[str, object]:
    return {
        "top1_as_labelled": found.before,
        "top1_after": found.after,
        "cycles": [[names[label] for label in cycle] for cycle in found.cycles],
        "shows": {names[label]: names[found.meaning[label]] for cycle in found.cycles for label in cycle},
    }


def _gaps(train: Opinion, val: Opinion, names: Sequence[str]) -> Finding:
    gaps = find_gaps((train.labels, train.predicted), (val.labels, val.predicted), train.classes)
    overall = [float((one.labels == one.predicted).mean()) for one in (train, val)]
    lines = [
        f"{names[gap.label]}: train {gap.train:.1%}, val {gap.val:.1%} of {gap.count:,}; expected from the "
        f"other classes: {gap.expected:.1%}"
        for gap in gaps
    ]
    shown = ", ".join(repr(names[gap.label]) for gap in gaps[:3]) + (", ..." if len(gaps) > 3 else "")
    level = f"train {overall[0]:.1%}, val {overall[1]:.1%} over all classes"
    return Finding(
        check="classes that fall",
        level=FOUND if gaps else FINE,
        verdict=f"{len(gaps)} classes are far worse in val than in train ({level}): {shown}"
        if gaps
        else f"no class is far worse in val than in train ({level})",
        details=shorten(lines),
        data={"classes": [{"name": names[gap.label], **vars(gap)} for gap in gaps]},
    )


def _noise(
    train: Noise, val: Noise, suspects: Sequence["_Suspect"], *, undone: bool, fallen: Finding
) -> Finding:
    found, fell = val.low > max(_LEAST_NOISE, train.high), fallen.level == FOUND
    # Rounded up: it is a bound. It does not cover images of one class that were labelled as another one.
    most = math.ceil(max(val.most, val.high) * 1000) / 1000
    bound = "" if fell else f", up to {most:.1%} may be wrong"
    more = f"; labels of the {fallen.check} are not counted here and may be wrong too" if fell else ""
    figures = f"about {val.share:.1%} ({val.low:.1%} to {val.high:.1%}) of val's labels look wrong{bound}"
    same = f"by the same measure {train.share:.1%} of train's" + (
        ", with the permutation undone" if undone else ""
    )
    return Finding(
        check="wrong labels",
        level=FOUND if found else NOTE if fell else FINE,
        verdict=f"{figures}, {same}; {len(suspects):,} images are named{more}"
        if found
        else f"no more than usual: {figures}, {same}{more}",
        details=shorten([suspect.line() for suspect in suspects]),
        data={
            "share": val.share,
            "low": val.low,
            "high": val.high,
            "most": val.most,
            "train": {"share": train.share, "low": train.low, "high": train.high, "most": train.most},
            "suspects": [vars(suspect) for suspect in suspects],
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Suspect:
    """An image of val whose label is probably wrong."""

    sample: int
    name: str
    label: str
    predicted: str
    probability_of_label: float
    probability_of_predicted: float
    wrong: float
    """The probability that the label is wrong."""

    def line(self) -> str:
        """The suspect in words."""
        return (
            f"{self.name}: labelled {self.label!r} ({self.probability_of_label:.2%}), looks like {self.predicted!r} "
            f"({self.probability_of_predicted:.1%}); wrong with probability {self.wrong:.2f}"
        )


def _suspects(collection: Collection, val: Opinion, noise: Noise) -> list[_Suspect]:
    """The suspects, the most certain first."""
    names, predicted = collection.labels.names, val.predicted
    order = np.argsort(-noise.wrong, kind="stable")
    suspects = []
    for row in order[noise.wrong[order] > _LIKELY]:
        logs = val.log_probabilities[row].astype(np.float64)
        suspects.append(
            _Suspect(
                sample=int(val.ids[row]),
                name=collection.name(collection.train.num_samples + int(val.ids[row])),
                label=names[val.labels[row]],
                predicted=names[predicted[row]],
                probability_of_label=float(np.exp(logs[val.labels[row]])),
                probability_of_predicted=float(np.exp(logs[predicted[row]])),
                wrong=float(noise.wrong[row]),
            )
        )
    return suspects


def _tile(first_of_val: int, suspect: _Suspect) -> Tile:
    lines = (f"val {suspect.sample}", f"label: {suspect.label}", f"network: {suspect.predicted}")
    return Tile(first_of_val + suspect.sample, lines)
