"""`byoc endpoints`, spelled `python -m launch.endpoints`."""

from byoc_vision.cli.endpoints import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.endpoints", main)
