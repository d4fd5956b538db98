"""Recipes, one a file: what a training does beside the task's loss on every parameter."""
