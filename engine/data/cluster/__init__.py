"""A conversion in shards on many machines: Dask, Slurm, or processes of this one."""
