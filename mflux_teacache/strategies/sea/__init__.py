"""SeaCache: skip while what a filter leaves of the signal, which is what matters at the noise level, hardly changes."""
