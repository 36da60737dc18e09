"""The engine that is AWS: boto3's side of the house."""
