"""SageMaker as an HTTP service on this machine: the local engine behind a socket, for any client.

    byoc service start
    eval "$(byoc service env)"
    aws sagemaker list-training-jobs

daemon.py       start, stop and state of the process; env.py what clients are told
server.py       HTTP: connections, and which service a request is for; bodies.py what is sent with one
message.py      a request and a reply as the services see them
signature.py    what a request's signature says
sagemaker.py    SageMaker's operations: checked, answered by the engine, written as the service does
runtime.py      InvokeEndpoint; asynchronous.py InvokeEndpointAsync
s3.py           S3, with s3_buckets.py, s3_objects.py, s3_multipart.py, s3_content.py
uploads.py      what is on its way into a bucket; parts.py multipart uploads
logs.py         CloudWatch Logs, of what jobs and endpoints printed, with log_streams.py; metrics.py CloudWatch
accounts.py     STS and IAM, registry.py ECR: the few questions that clients ask
resumption.py   jobs that go on after an interruption
"""
