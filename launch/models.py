"""`byoc models`, spelled `python -m launch.models`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("models", "launch.models")
