"""Image files: what they are, whether they are whole, and how they are decoded, encoded and made smaller.

`sniff` reads a header and `integrity` proves a file whole; both work on the bytes alone and load no image library.
`codec` decodes, encodes and makes an image fit into a number of bytes, `inputs` is for images given by users.
`threads` is where such work runs.
"""
