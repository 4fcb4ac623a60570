"""What follows from a set of cases: folds, and nnU-Net's raw folder, fingerprint and plans."""
