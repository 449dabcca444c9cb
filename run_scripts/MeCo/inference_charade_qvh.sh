#!/bin/sh
# usage: inference_charade_qvh.sh CHECKPOINT [DATASET] PRED_DIR [DTYPE] [--options KEY=VALUE ...]
# MeCo on Charades-STA and QVHighlights, then scored. Files <dataset>/<dataset>.json in PRED_DIR are what its metric
# script reads; they have the scale that the original forgot.
# CHECKPOINT: folder of a run, a best.safetensors, a merged file, or the folder of a published checkpoint.
# DATASET: all (the default), charades, qvhighlights, or vhd: QVHighlights with the question about highlights.
# PRED_DIR: a folder; a relative one lies in the folder of CHECKPOINT.
# DTYPE: fp16 (the default; on a CPU fp32), bf16 or fp32.
# NUM_GPUS: processes, by default one for each GPU. Started again, it goes on where it was interrupted.
. "$(dirname "$0")/_inference.sh"
TASKS="all charades qvhighlights vhd"
read_arguments "$@"
shift "$READ"
[ "$TASK" != all ] || TASK="charades qvhighlights"
for dataset in $TASK; do
    mkdir -p "$PRED_DIR/$dataset"
    case $dataset in
    charades)
        CONFIG=experiments/meco/charades_sta
        evaluate "run/$dataset" "$@"
        cp "$RUN/predictions/charades_sta_test.json" "$PRED_DIR/$dataset/$dataset.json"
        lavis score meco_charades --predictions "$PRED_DIR/$dataset/$dataset.json"
        ;;
    *)
        CONFIG=experiments/meco/qvhighlights
        [ "$dataset" != vhd ] || CONFIG=experiments/meco/qvhighlights_highlights
        evaluate "run/$dataset" "$@"
        cp "$RUN/predictions/qvhighlights_val.json" "$PRED_DIR/$dataset/$dataset.json"
        lavis score meco_qvhighlights --predictions "$PRED_DIR/$dataset/$dataset.json"
        ;;
    esac
done
