"""How a model is trained: phases and steps, recipes, evaluation, the state between two steps, and probes."""
