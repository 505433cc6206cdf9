#!/usr/bin/env bash
# Training on several machines under SLURM; goes on by itself where a time limit or a preemption cut it off:
#
#   sbatch slurm.sh experiments/helen.toml
#
#SBATCH --job-name=faceparse
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1      # our launcher, which starts a process on each GPU of its machine
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180      # to this script, 180 s before the time limit
#SBATCH --requeue                # on preemption and after a node failed, too
#SBATCH --open-mode=append
set -u

PLACE=${PLACE:---gpus 0,1,2,3,4,5,6,7}
HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 10000))  # one for each job: two may share a machine

# --resume auto: every start of this job is the same command. --kill-on-bad-exit: where one machine ends, all end.
srun --kill-on-bad-exit=1 faceparse train "$@" $PLACE --resume auto \
  --nodes "$SLURM_JOB_NUM_NODES" --rendezvous "$HOST:$PORT" &
STEP=$!

# The launchers are told, each tells its processes, and these save at their next step and end with 143.
STOPPED=
stop() {
  STOPPED=yes
  scancel --signal=TERM "$SLURM_JOB_ID.0"
}
trap stop USR1 TERM

# `wait` ends at each signal: wait until the step has ended.
wait "$STEP"
CODE=$?
while kill -0 "$STEP" 2>/dev/null; do
  wait "$STEP"
  CODE=$?
done
if [ -n "$STOPPED" ] && [ "$CODE" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
