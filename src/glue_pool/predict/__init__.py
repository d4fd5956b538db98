"""Predictions of a saved model, row by row, for inputs of any size."""
