"""Auto: takes the best setting that is known for a model, and says how that is known."""
