#!/bin/sh
exec "$(dirname "$0")/_train.sh" experiments/meco/stage2_minicpmv_qwen2 "$@"
