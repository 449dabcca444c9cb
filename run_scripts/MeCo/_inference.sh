#!/bin/sh
# What inference_*.sh share; they read it in, with CONFIG and TASKS set.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd)

lavis() { PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" python -m lavis.cli "$@"; }

usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"; }

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# Sets CHECKPOINT, TASK, PRED_DIR, DTYPE, and READ, the number of arguments these took.
read_arguments() {
    case "${1:-}" in
    -h | --help) usage && exit 0 ;;
    "" | -*) usage >&2 && exit 2 ;;
    esac
    CHECKPOINT=$1 TASK=all READ=1
    GPUS=$(python -c 'import torch; print(torch.cuda.device_count())')
    DTYPE=fp16
    [ "$GPUS" != 0 ] || DTYPE=fp32
    [ -e "$CHECKPOINT" ] || fail "there is no checkpoint $CHECKPOINT"
    shift
    case " $TASKS " in
    *" ${1:--} "*) TASK=$1 READ=$((READ + 1)) && shift ;;
    esac
    case "${1:--}" in
    -*) fail "PRED_DIR is missing; the arguments are: CHECKPOINT [$(echo "$TASKS" | tr ' ' '|')] PRED_DIR [DTYPE]" ;;
    esac
    PRED_DIR=$1 READ=$((READ + 1))
    shift
    case "${1:--}" in
    fp16 | float16) DTYPE=fp16 READ=$((READ + 1)) ;;
    bf16 | bfloat16) DTYPE=bf16 READ=$((READ + 1)) ;;
    fp32 | float32) DTYPE=fp32 READ=$((READ + 1)) ;;
    -*) ;;
    *)
        [ "$READ" = 2 ] || fail "'$1' is no dtype (fp16, bf16, fp32)"
        fail "'$PRED_DIR' is no task ($TASKS), or '$1' no dtype (fp16, bf16, fp32)"
        ;;
    esac
    case "$PRED_DIR" in
    /*) ;;
    *)
        place=$CHECKPOINT
        [ -d "$place" ] || place=$(dirname "$place")
        PRED_DIR=$place/$PRED_DIR
        ;;
    esac
}

# Asks the model; RUN is where its predictions then lie.
evaluate() {
    folder=$1
    shift
    RUN=$PRED_DIR/$folder
    [ "$GPUS" != 0 ] || GPUS=1
    set -- "$(dirname "$0")/../../evaluate.py" --cfg-path "$CONFIG" --checkpoint "$CHECKPOINT" "$@" \
        --options "run.output_dir=$PRED_DIR" "name=$folder" "run.eval_precision=$DTYPE"
    # One process needs no launcher, whose report of a failure would bury what the process says of it.
    if [ "${NUM_GPUS:-$GPUS}" = 1 ]; then
        python "$@"
    else
        torchrun --standalone --nproc_per_node="${NUM_GPUS:-$GPUS}" "$@"
    fi
}
