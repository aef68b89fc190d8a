"""Tuning: finds the best settings for one model, by a few full runs of it, and keeps them as a preset."""
