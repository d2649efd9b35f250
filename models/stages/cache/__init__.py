"""The cache: an image that was made before is returned in place of a new one, at no cost.

`stage` holds the stages. `key` says which requests are equal, `prompts` which prompts are similar, `meaning` asks the
owner's embeddings endpoint. `entries` is what is kept of a result, `shelf` where (the owner's storage, else `local`, a
SQLite file). Equal requests in flight are made once: `leases` says over processes who makes an image, `flights` lets
the others wait.
"""
