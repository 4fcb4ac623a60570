"""LesionLab as a service: scans come in by DICOM, by REST or from a page, answers go back.

`settings` and `jobs` are the nouns: what the operator chose, and the queue that survives a kill. `store`
keeps studies on disk, `worker` runs `examine`, `node` speaks DICOM, `web` serves page and REST interface.
What is found and measured is `pipeline/`'s business; nothing here computes on images.
"""
