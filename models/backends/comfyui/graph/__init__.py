"""The pure half of the backend: reading a workflow's graph, finding its slots, filling them. No server is asked here."""
