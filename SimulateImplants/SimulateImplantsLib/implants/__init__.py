"""implants."""
