"""sinogram_unet."""
