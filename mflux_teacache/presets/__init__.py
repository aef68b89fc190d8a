"""Presets: the settings that were found best for one model on one machine, as plain JSON that can be shared."""
