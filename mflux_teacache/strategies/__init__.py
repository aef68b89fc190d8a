"""Built-in strategies beside TeaCache, one file each, on the public hooks and nothing else."""
