"""From a checkpoint to a folder that runs without torch: export, verification, quantisation and its gate."""
