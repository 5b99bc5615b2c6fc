#!/usr/bin/env bash
# What a teacher gains on CIFAR-10: `scripts/distillation.sh TRAIN.beton VAL.beton FOLDER [SEEDS] [OPTION...]`
#
# Trains the teacher (seed 100) unless FOLDER/runs/teacher has finished, then over the seeds (default 0,1,2) the recipe
# distilled_2_cores with it and without it, and both again without MixUp, which is small_2_cores. Each leaves its record
# and page in FOLDER; a second start goes on where the first one ended. One to two hours on 2 cores. Options of
# train_imagenet.py apply to every run.
set -euo pipefail
cd "$(dirname "$0")/.."
train=$1 val=$2 folder=$3 seeds=${4:-0,1,2}
shift 3
if (($#)); then shift; fi
python=${PYTHON:-.venv/bin/python}
data=(--data.train_dataset="$train" --data.val_dataset="$val")

mkdir -p "$folder/runs"
if [ ! -f "$folder/runs/teacher/weights.pt" ]; then
  "$python" train_imagenet.py -C cifar_configs/small_2_cores.yaml "${data[@]}" --training.epochs=24 --training.seed=100 \
    --logging.folder="$folder/runs" --logging.name=teacher --training.resume=auto "$@"
fi

measure() { # NAME RECIPE OPTION...
  local name=$1 recipe=$2
  shift 2
  "$python" -m benchmarks accuracy -C "cifar_configs/$recipe.yaml" --seeds "$seeds" --json "$folder/$name.json" \
    --folder "$folder/runs" -- "${data[@]}" "$@"
}
measure with_teacher distilled_2_cores --loss.teacher="$folder/runs/teacher" "$@"
measure without_teacher distilled_2_cores --loss.teacher= "$@"
measure with_teacher_no_mixup distilled_2_cores --loss.teacher="$folder/runs/teacher" --augmentation.mixup_alpha=0 "$@"
measure without_teacher_no_mixup small_2_cores "$@"
