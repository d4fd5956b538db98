"""A trained model in a folder that `save_model=true` leaves: saved, described, and loaded again."""
