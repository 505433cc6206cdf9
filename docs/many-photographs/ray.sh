#!/usr/bin/env bash
# A Ray cluster of the job's nodes, and one command that uses all of it:
#
#   sbatch --nodes=4 ray.sh --model best.pth /data/photographs --recursive -o /data/parsed
#
#SBATCH --job-name=faceparse-ray
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --open-mode=append
set -eu
export RAY_USAGE_STATS_ENABLED=0  # Ray reports its use to its maker otherwise

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 10000))  # one for each job: two may share a machine
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

srun --nodes=1 --ntasks=1 --nodelist="$HEAD" \
  ray start --head --port="$PORT" --include-dashboard=false --num-cpus="$SLURM_CPUS_PER_TASK" --block &
until (: < "/dev/tcp/$HEAD/$PORT") 2>/dev/null; do
  sleep 1
done
OTHERS=$((SLURM_JOB_NUM_NODES - 1))
if [ "$OTHERS" -gt 0 ]; then
  srun --nodes="$OTHERS" --ntasks="$OTHERS" --exclude="$HEAD" \
    ray start --address="$HEAD:$PORT" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
fi
srun --overlap --nodes=1 --ntasks=1 --nodelist="$HEAD" faceparse predict "$@" --resume --ray "$HEAD:$PORT"
