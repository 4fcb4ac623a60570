"""From a fold's cases to the batches of patches that a network is trained on."""
