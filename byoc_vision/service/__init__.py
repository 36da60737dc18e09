"""SageMaker as an HTTP service on this machine: the local engine behind a socket, for any client.

byoc service start
eval "$(byoc service env)"
aws sagemaker list-training-jobs

daemon.py       start, stop and state of the process; env.py what clients are told
server.py       HTTP: connections, bodies in and out by streaming; which service a request is for
message.py      a request and a reply as the services see them
signature.py    what a request's signature says
sagemaker.py    SageMaker's operations: checked, answered by the engine, written as the service does
runtime.py      InvokeEndpoint
s3.py           S3; uploads.py what is on its way into a bucket; xml.py
logs.py         CloudWatch Logs, of what jobs and endpoints printed
accounts.py     STS and IAM, registry.py ECR: the few questions that clients ask
"""
