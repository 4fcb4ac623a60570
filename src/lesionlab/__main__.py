"""`python -m lesionlab` is the command line."""

from __future__ import annotations

from lesionlab.cli import main

if __name__ == "__main__":
    main()
