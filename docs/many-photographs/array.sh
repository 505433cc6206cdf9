#!/usr/bin/env bash
# One of many independent processes; together they parse all photographs:
#
#   sbatch --array=1-16 array.sh --model best.pth /data/photographs --recursive -o /data/parsed
#
#SBATCH --job-name=faceparse-predict
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue                # on preemption and after a node failed
#SBATCH --open-mode=append
set -eu

exec faceparse predict "$@" --resume --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX"
