"""voxels."""
