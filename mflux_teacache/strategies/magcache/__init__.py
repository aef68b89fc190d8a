"""MagCache: skip while the residual's magnitude, as a table of a full run has it, stays near the cached one's."""
