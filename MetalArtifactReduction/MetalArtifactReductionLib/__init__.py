"""MetalArtifactReductionLib."""

__version__ = "0.1.0"
"""As in pyproject.toml; inside Slicer there is no installed package to ask."""
