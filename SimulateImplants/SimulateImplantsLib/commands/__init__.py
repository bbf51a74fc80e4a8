"""What ``mar place``, ``voxelise``, ``simulate`` and ``dataset`` do with their options.

Imported by ``mar`` at its start: what is heavy is imported by the functions that need it.
"""
