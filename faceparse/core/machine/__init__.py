"""The machine: devices, free memory, parallel work on many files, and the processes of one training."""
