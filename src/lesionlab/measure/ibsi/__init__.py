"""The image biomarker standard (IBSI-1, arXiv 1612.07003v11), complete: one lesion to its features.

One family per file: `local` and `statistics` (intensity), `histogram`, `volume_histogram`, `morphology`,
`spatial` and the texture families. `chain` prepares the image, `levels` discretises, `radiomics` runs all.
Array code and compiled kernels; no torch.
"""
