"""From files to a `Case`: DICOM, NIfTI and kin, arrays, stacks, pictures, and masks in any of these."""
