"""The demo: a synthetic PET/CT cohort written as true DICOM, and the whole road run on it."""
