"""`byoc transform`, spelled `python -m launch.transform`."""

from byoc_vision.cli.transform import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.transform", main)
