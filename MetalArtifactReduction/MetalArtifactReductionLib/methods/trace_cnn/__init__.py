"""trace_cnn."""
