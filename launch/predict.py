"""`byoc predict`, spelled `python -m launch.predict`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("predict", "launch.predict")
