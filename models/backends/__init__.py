"""Services: a folder for each, and beside the folders what all of them share.

- templates: `base.py` (every service), `calls.py` (one call makes one image), `tasks.py` (one task makes one image),
  `any_model.py` and `model_inputs.py` (models whose inputs come from a published schema), `partial.py` (several calls make
  one result)
- HTTP: `http.py` is the only door; `reply.py`, `network_errors.py`, `public_adapter.py`, `affinity.py`, `trail.py` serve it
- failures: `errors.py`, `refusals.py` with `refusals.yaml`, `outage.py`, `questions.py`
- images at addresses: `images.py`, `file_links.py`
- several servers behind one form: `servers.py`, `server_pool.py`; what they tell is kept in `cache.py`
- `registry.py`: one line per service
"""
