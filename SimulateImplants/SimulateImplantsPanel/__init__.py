"""Parts of the Slicer module that need Slicer itself; not for use elsewhere."""
