"""Networks and their weights; every file imports torch or MONAI, so they are named, not imported.

A new network is a class in a file of this package and one line in
:data:`.weights.ARCHITECTURES`; its weights then load by name and refuse everybody else's.
"""
