"""A shadow run computes every step, and shows what each strategy would have skipped and at what error."""
