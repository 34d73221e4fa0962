"""What every training has and leaves: settings, the signal that stops it, the page of its report."""
