#!/bin/sh
# usage: _train.sh CONFIG [PREVIOUS] [--options KEY=VALUE ...]
# PREVIOUS: weights the stage goes on from: the folder of a run, a best.safetensors, a merged file, or the folder of a
# published checkpoint.
# NUM_GPUS: processes on this node, by default one for each GPU. RUNTIME: zero2, zero2_offload, zero3, zero3_offload or
# fsdp2 (configs/runtime). Several nodes: NNODES, and on each NODE_RANK, MASTER_ADDR and MASTER_PORT.
config=$1
shift
case "${1:-}" in
-h | --help)
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0" | sed "s/_train.sh CONFIG/train_stage_*.sh/"
    exit 0
    ;;
esac
case "${1:--}" in
-*) ;;
*) LAVIS_PREVIOUS=$1 && export LAVIS_PREVIOUS && shift ;;
esac
where=--standalone
if [ "${NNODES:-1}" -gt 1 ]; then
    where="--nnodes=$NNODES --node-rank=${NODE_RANK:?} --master-addr=${MASTER_ADDR:?} --master-port=${MASTER_PORT:-29500}"
fi
# shellcheck disable=SC2086  # several words
exec torchrun $where --nproc_per_node="${NUM_GPUS:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}" "$(dirname "$0")/../../train.py" --cfg-path "$config" ${RUNTIME:+--options "_base_=runtime/$RUNTIME"} "$@"
