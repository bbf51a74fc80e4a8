"""MetalArtifactReductionLib."""
