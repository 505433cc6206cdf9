"""The machine: devices, free memory, many processes for many files, and the processes of one training."""
