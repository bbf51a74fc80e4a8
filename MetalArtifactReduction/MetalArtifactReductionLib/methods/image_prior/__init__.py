"""image_prior."""
