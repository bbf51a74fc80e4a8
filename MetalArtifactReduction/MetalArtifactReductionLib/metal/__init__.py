"""metal."""
