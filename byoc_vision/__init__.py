"""Bring-your-own-container image classification for Amazon SageMaker."""

#: The one place where the version is written: of the package, the images and what they leave.
__version__ = "0.1.0"
