"""Case to case: SUV, one grid, the channels that a recipe asks for."""
