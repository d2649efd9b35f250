"""The owner's storage: S3 and all that speaks it, Google Cloud Storage, Azure, or a folder.

`address` reads the form's fields, `objects` is the only module that talks to a store, `failures` puts what a store says
into sentences, and `probe` tries a store when a form is saved.
"""
