"""`byoc predict`, spelled `python -m launch.predict`."""

from byoc_vision.cli.predict import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.predict", main)
