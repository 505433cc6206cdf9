"""From settings to a finished run: launch, plan, loss, optimizer, the loop, checkpoints."""
