"""MagCache skips while a table of full runs says that the residual's magnitude is still near the cached one's."""
