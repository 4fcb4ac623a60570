"""The DICOM network (PS3.8): receiving, sending and fetching. The only package that imports pynetdicom.

`receiver` takes instances in, through the port of `listener`; `sender` brings results to a PACS, `fetch` asks
one for studies. What is done with a study once it is here is decided in `arrivals.py`.
"""
