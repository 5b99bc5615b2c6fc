#!/bin/bash
# Training on several hosts without a scheduler. On each host, from the repository's folder, the same line but for NODE:
#
#   MAIN=10.0.0.1 HOSTS=2 NODE=0 examples/torchrun_hosts.sh -C rn50_configs/rn50_88_epochs.yaml \
#       --data.train_dataset=/data/train.beton --data.val_dataset=/data/val.beton --logging.name=baseline
#
# MAIN is the address of host 0, which writes the run folder. Each host needs the data under the same path, and the rest
# of the run from host 0 alone. A killed process, and a line that is given again on all hosts, continue the run.
# PROCESSES: processes of a host (default: one for each GPU); PORT: of MAIN (29500); RESTARTS: of a host's processes
# (10). On a host with several networks GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the one to use.
#
# Tried on CPUs with two hosts in network namespaces (tests/train/ranks/test_torchrun_hosts.py): the weights are those
# of two processes on one host, also after a kill. Not tried on GPUs.
set -euo pipefail

exec "${PYTHON:-.venv/bin/python}" -m torch.distributed.run --nnodes="${HOSTS:-1}" --node-rank="${NODE:-0}" \
    --nproc-per-node="${PROCESSES:-gpu}" --master-addr="${MAIN:-127.0.0.1}" --master-port="${PORT:-29500}" \
    --max-restarts="${RESTARTS:-10}" train_imagenet.py "$@" --training.resume=auto
