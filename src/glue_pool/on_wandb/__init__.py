"""What there is for W&B beside a run's own mirror (`glue_pool.tracking`): upload, sweep files, a dashboard."""
