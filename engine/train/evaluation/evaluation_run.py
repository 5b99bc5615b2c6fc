"""A run that trains nothing (training.eval_only): it validates weights, without the training file or its loader.

It leaves `evaluation.json` in the run's folder, which has all that its report shows.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import ClassList, agree_on_classes, identity
from engine.data.beton.reader import Beton
from engine.data.remote.open_data import open_data
from engine.data.sampling.order import held_out
from engine.data.sources.originals import Originals, open_source
from engine.errors import UserError
from engine.files import atomic_write
from engine.models.ensemble import Ensemble
from engine.models.input_size import refuse_sides
from engine.runs.evaluation_schema import Evaluation, EvaluationFile, SearchedResolution
from engine.runs.folder import EVALUATION
from engine.runs.run_writer import RunWriter
from engine.train.budget.verdict import judge
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.known_network import build_known, know_network
from engine.train.checkpoints.resume import refuse_other_data
from engine.train.checkpoints.weights_file import classes_in
from engine.train.evaluation.full_evaluation import Examination
from engine.train.evaluation.validator import Validator, search_resolution, search_table
from engine.train.open_loader import open_loader, tell_new_skips
from engine.train.ranks.group import Ranks
from engine.train.run_base import RunBase
from engine.train.weights import sides_of


class EvaluationRun(RunBase):
    """One rank's side of it. Construction checks the data and builds the model; `execute` does the work.

    Raises UserError on construction for data, weights or original images that can't be used.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        super().__init__(config, ranks)
        val = open_data(config.data.val_dataset, config.data, shows=ranks.main)
        self.take_classes(named_by_weights(agree_on_classes(val), config.model.weights))
        self.data = {"val": identity(val)}
        refuse_other_data(ranks, self.data)
        self.tell_doubts(val)
        self.model = self.with_ensemble(self.build_network())
        self.originals = self._open_originals(val) if config.validation.reference else None
        loader = open_loader(config, ranks, self.precision, val, training=False)
        self.validator = Validator(config, ranks, self.precision, self._owned.enter_context(loader))
        self.search = self._build_search() if config.validation.search else None

    def execute(self, record: RunWriter) -> int:
        """Measure, log, and return the exit code that the verdict asks for."""
        record.start(
            self.start_line(val_data=self.data["val"], num_val=self.validator.loader.beton.num_samples)
        )
        searched = {"search": self._choose_resolution(self.search)} if self.search else {}
        examination = Examination(self.validator, self.model, self.classes, self.originals)
        accuracy, plain, found = examination.run()
        tell_new_skips(part.loader for part in (self.validator, self.search) if part is not None)
        # Without training there is no time to judge.
        verdict = judge(
            replace(self.config.budget, minutes=0.0, hours=0.0), accuracy.top1, 0.0, accuracy.doubt
        )
        result = self.result_line(accuracy, plain, verdict, 0.0, None, **searched, evaluation=found)
        # It prints the verdict before anything is written: what took an hour should not be lost with a full disk.
        record.finish(result)
        self._write(record.folder / EVALUATION, found)
        # Rank 0 is still writing; a rank that left now would be taken for a failure.
        self.ranks.barrier()
        return verdict.exit_code

    def with_ensemble(self, model: nn.Module) -> nn.Module:
        """`model`, or with model.ensemble it and those as one. Raises UserError for one that can't be had."""
        members = [model]
        for path in self.config.model.ensemble_list():
            network, notes = ensemble_member(self.config, path, self.classes, self.ranks.device)
            members.append(network)
            for note in notes:
                self._note(note)
        if len(members) == 1:
            return model
        self._note(f"the mean softmax of {len(members)} networks is evaluated (model.ensemble)")
        return Ensemble(members)

    def _open_originals(self, val: Beton) -> Originals:
        """The files that the validation file was made of. Raises UserError where they are not there, or are others."""
        validation = self.config.validation
        source = open_source(
            validation.reference, validation.reference_folder, validation.reference_labels, val
        )
        if self.ranks.main:
            print(f"{validation.reference}: {source.kind}, {len(source):,} images", flush=True)
        workers = self.config.data.num_workers or self.ranks.cores()
        return self._owned.enter_context(Originals(val, source, validation.reference, workers))

    def _build_search(self) -> Validator:
        """What measures on the images held out of training. Raises UserError for another file, or when none are."""
        config = self.config
        train = open_data(config.data.train_dataset, config.data, shows=self.ranks.main)
        agree_on_classes(train, self.validator.loader.beton)
        held = held_out(train.num_samples, config.data.holdout, config.training.seed)
        if not len(held):
            raise UserError(
                f"data.holdout {config.data.holdout:g} of {train.num_samples} images is less than one image: raise it"
            )
        loader = open_loader(config, self.ranks, self.precision, train, training=False, in_memory=False)
        self._owned.enter_context(loader)
        return Validator(config, self.ranks, self.precision, loader, held)

    def _choose_resolution(self, search: Validator) -> list[SearchedResolution]:
        """Search, and validate at the best from here on; returns the accuracy at each side."""
        found = search_resolution(search, self.model, self.config.validation.search_list())
        if self.ranks.main:
            print(search_table(found), flush=True)
        validation = replace(self.config.validation, resolution=found[0]["resolution"])
        self.config = replace(self.config, validation=validation)
        self.validator.validation = validation
        return [SearchedResolution.from_json(entry) for entry in found]

    def _write(self, path: Path, found: Evaluation) -> None:
        """evaluation.json, which the first rank writes; all ranks have found the same."""
        if self.ranks.main:
            model = self.config.model
            content = EvaluationFile(
                arch=model.arch,
                weights=model.weights,
                use_ema=model.use_ema,
                file=self.config.data.val_dataset,
                **found.fields(),
            )
            if model.ensemble:
                content = content.replaced(ensemble=model.ensemble_list())
            text = json.dumps(content.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
            with atomic_write(path) as file:
                # A name that is not UTF-8 comes as lone surrogates, for which JSON has escapes.
                file.write(text.encode("utf-8", "backslashreplace"))


def ensemble_member(
    config: TrainConfig, path: str, classes: ClassList, device: torch.device
) -> tuple[nn.Module, list[str]]:
    """One of model.ensemble's networks, in eval mode, and notes on it. Raises UserError, as for other classes."""
    option, model, training = "model.ensemble", config.model, config.training
    known = know_network(Path(path), option)
    notes = []
    if known.arch is None:
        notes.append(f"{known.file} does not say which network it is of: taken for model.arch={model.arch}")
        known = replace(known, arch=model.arch, use_blurpool=training.use_blurpool)
    side, asked = config.validation.resolution, known.card and known.card.preprocessing.resolution
    if asked and asked != side:
        notes.append(f"{known.file} was validated at {asked} px, and is evaluated at {side} px here")
    network, further = build_known(
        known,
        classes.count,
        device,
        names=classes.names if model.match_classes else None,
        channels_last=training.channels_last,
        option=option,
    )
    try:
        refuse_sides(network, known.arch or model.arch, sides_of(config))
    except UserError as error:
        raise UserError(f"{option}: {known.file}: {str(error).removeprefix('model.arch: ')}") from None
    return network, [*notes, *further]


def named_by_weights(classes: ClassList, weights: str) -> ClassList:
    """`classes` with the names that a weights file has, where the data have none (stock ffcv's)."""
    if classes.names or not weights:
        return classes
    names = classes_in(checkpoint_file.load(Path(weights)))
    return ClassList(len(names), names) if names and len(names) >= classes.count else classes
