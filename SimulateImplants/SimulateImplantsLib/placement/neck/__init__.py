"""Cervical lateral masses, found in the image, and screws in them."""
