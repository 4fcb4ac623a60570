"""The page and the REST interface. The only package that imports FastAPI.

`app` joins everything, `api` and `decisions` are the REST interface, `pages` what people see (templates/,
static/), `access` tells who may. What a job is and does is decided
in `jobs.py` and `worker.py`.
"""
