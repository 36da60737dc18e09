"""`byoc transform`, spelled `python -m launch.transform`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("transform", "launch.transform")
