"""From a case to a mask and, where there is one, a probability."""
