"""A shadow run: every step is computed, and every strategy tells what it would have skipped, and at what error."""
