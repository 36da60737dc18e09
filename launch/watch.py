"""`byoc watch`, spelled `python -m launch.watch`."""

from byoc_vision.cli.watch import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.watch", main)
