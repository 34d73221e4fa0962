"""What every training has and leaves: settings, folder, record, checkpoints, stop signal, report."""
