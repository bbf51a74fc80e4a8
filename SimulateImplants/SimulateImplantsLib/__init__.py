"""SimulateImplantsLib."""
