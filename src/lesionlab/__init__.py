"""LesionLab: from a medical scan to lesions, biomarkers and a report."""
