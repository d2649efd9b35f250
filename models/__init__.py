"""The way of a request: messages → ImageRequest → backend → ImageResult → delivery."""
