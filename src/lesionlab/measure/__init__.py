"""From a mask to a table of lesions with biomarkers."""
