"""Built-in strategies beside TeaCache, a file or folder each, on the public hooks and nothing else."""
