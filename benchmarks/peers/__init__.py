"""Other radiomics tools, each asked in its own environment through one small protocol (`protocol.py`)."""
