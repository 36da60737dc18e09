"""SageMaker's requests as plain data: built, checked, and overlaid with the user's own fields. Nothing is sent here."""
