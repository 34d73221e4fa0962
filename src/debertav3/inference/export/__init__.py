"""From a checkpoint to a folder that runs without torch: export, verification, quantization and its gate."""
