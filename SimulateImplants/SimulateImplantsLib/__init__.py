"""Implants as geometry: families, placement on bones, voxelisation, phantoms.

CT physics is asked from ``MetalArtifactReductionLib``; nothing there knows of this package.
"""
