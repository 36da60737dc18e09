"""A page in the browser to try a model: drop a picture, see what the endpoint says; keep those it has wrong."""
