"""What every training leaves and heeds: the page of its report, and the signal that stops it."""
