#!/usr/bin/env bash
# Training on two nodes of four GPUs under Slurm; docs/multi_gpu.md explains it.
#   sbatch run_scripts/slurm_example.sh experiments/calce/qvh_stage1 run.strategy=fsdp2 run.precision=bf16
#SBATCH --job-name=lavis
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1        # one torchrun a node, which starts a process for each GPU
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32         # 4 processes, each with its run.num_workers loader processes
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@600        # 10 minutes before the end this script hears SIGTERM: the run saves and exits
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm_%x_%j.log

set -euo pipefail
[ $# -ge 1 ] || { echo "usage: sbatch $0 CONFIG [key=value ...]" >&2; exit 2; }
config=$1
shift

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=500  # seconds to save in; torchrun's own 30 may not do for a large checkpoint

# In the background, since bash hears a signal only while it waits.
# --max-restarts: when a process is lost, or the watchdog ends a run that hangs, torchrun starts all of them again, and
# they go on from the last checkpoint.
srun --kill-on-bad-exit=1 torchrun \
    --nnodes="$SLURM_NNODES" \
    --nproc-per-node="$SLURM_GPUS_ON_NODE" \
    --rdzv-id="$SLURM_JOB_ID" \
    --rdzv-backend=c10d \
    --rdzv-endpoint="$head_node:29500" \
    --max-restarts=2 \
    train.py --cfg-path "$config" ${1:+--options "$@"} &
step=$!

out_of_time=
trap 'out_of_time=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' TERM
status=0
wait "$step" || status=$?
if [ -n "$out_of_time" ]; then
    wait "$step" || true  # the first wait ended with the signal, this one ends when everything is saved
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
