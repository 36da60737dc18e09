"""Programs of the measurements that run where torch is. Each prints its figures as one line of JSON, last."""
