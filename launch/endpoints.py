"""`byoc endpoints`, spelled `python -m launch.endpoints`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("endpoints", "launch.endpoints")
