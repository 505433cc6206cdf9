"""From settings to a finished run: launch, plan, loss, optimizer, training loop, checkpoints."""
