#!/bin/sh
# usage: inference_etbench.sh CHECKPOINT [TASK] PRED_DIR [DTYPE] [--options KEY=VALUE ...]
# MeCo on E.T. Bench, then scored. Files <task>_etbench_0.json in PRED_DIR are what the benchmark's scripts read.
# CHECKPOINT: folder of a run, a best.safetensors, a merged file, or the folder of a published checkpoint.
# TASK: all (the default) or one of rar eca rvq tvg epm tal evs vhd dvc slc tem gvq.
# PRED_DIR: a folder; a relative one lies in the folder of CHECKPOINT.
# DTYPE: fp16 (the default; on a CPU fp32), bf16 or fp32. ASKED: options of the questions, such as ASKED="plus=true gvq_options=four".
# NUM_GPUS: processes, by default one for each GPU. Started again, it goes on where it was interrupted.
. "$(dirname "$0")/_inference.sh"
CONFIG=experiments/meco/etbench
TASKS="all rar eca rvq tvg epm tal evs vhd dvc slc tem gvq"
read_arguments "$@"
shift "$READ"
for option in ${ASKED:-}; do set -- "$@" --options "datasets.et_bench.format.$option"; done
[ "$TASK" = all ] || set -- --tasks "$TASK" "$@"
evaluate "run/$TASK" "$@"
lavis submit --benchmark etbench --test "$RUN/predictions/et_bench_test.json" --out "$PRED_DIR"
lavis score etbench --predictions "$PRED_DIR"
