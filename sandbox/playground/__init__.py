"""
The playground: a page on this machine to try models, `python -m sandbox serve`.

`form` schema to fields, `variants` prompts, `exchange` the raw exchange, `jobs` calls, `history` what was made,
`cards` results as HTML, `credentials` keys of the page, `demo` stand-in servers, `page` the components, `serve` start.
Only `page` and `serve` import Gradio.
"""
