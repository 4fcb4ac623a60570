"""The DICOM network (PS3.8): receiving, sending and fetching. The only package that imports pynetdicom.

`receiver` takes instances in, `association` serves one caller, `upper_layer` is what goes over the wire;
`sender` brings results to a PACS. What is done with a study once it is here is decided in `arrivals.py`.
"""
