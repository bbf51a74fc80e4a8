"""The commands of ``mar``, one module each, and the list of them.

A new command is one module with a function that takes the sub-parsers, and one more line in
:data:`COMMANDS`. These modules load nothing heavy when they are imported: ``--help`` comes at once.
"""

COMMANDS = (
    ".info:add_info",
    ".segment:add_segment",
    ".correct:add_correct",
    ".evaluate:add_evaluate",
    ".compare:add_compare",
    ".train_patient:add_train_patient",
    ".train:add_train",
    ".configuration:add_config",
)
"""``"module:function"`` relative to this package, in the order of ``mar --help``."""
