#!/bin/sh
exec "$(dirname "$0")/_train.sh" experiments/meco/stage3_minicpmv_qwen2 "$@"
