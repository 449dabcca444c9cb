#!/bin/sh
exec torchrun --standalone --nproc_per_node="${NUM_GPUS:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}" "$(dirname "$0")/../../../evaluate.py" --cfg-path experiments/mr_blip/anet_tal --options "run.test_splits=[val]" "$@"
