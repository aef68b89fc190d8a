"""EasyCache: learn during the run how strongly the output follows the input, and skip while it follows little."""
