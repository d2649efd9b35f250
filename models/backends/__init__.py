"""One module or folder per service; `registry.py` names them, `base.py` says what they are."""
