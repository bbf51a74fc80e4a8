"""The site: ``sphinx-build --fail-on-warning docs site``; a link or reference that leads nowhere fails."""

import MetalArtifactReductionLib

project = "MetalArtifactReduction"
author = "The MetalArtifactReduction developers"
release = MetalArtifactReductionLib.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["examples/*.py"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
