"""`byoc train`, spelled `python -m launch.train`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("train", "launch.train")
