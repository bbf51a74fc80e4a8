"""nmar."""
