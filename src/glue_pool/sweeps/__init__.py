"""Many runs: what a sweep would run, where it is carried out, and what a person sees of it."""

failures: dict[str, str] = {}
"""What failed in this process's sweeps, and why, by the overrides that name it."""
