"""The engine that is this machine: SageMaker's operations, answered by containers here (`byoc_vision.engine`).

    from byoc_vision.local import open_engine
    engine = open_engine()
    engine.sagemaker.create_training_job(**request)      # returns at once
    engine.sagemaker.describe_training_job(TrainingJobName=request["TrainingJobName"])

Jobs are containers with SageMaker's layout below /opt/ml, started with `docker run`, and outlive the program that asked
for them. Nothing has a name that another checkout on this machine may want, too.

    machine.py      the engine: the two clients, images, places, logs
    client.py       boto3's own clients, answered here in place of AWS
    operations.py   which function answers which operation
    store.py        a folder per job, model and endpoint: what is known of it, and who may change it
    files.py        file:// and s3:// URIs; objects.py the buckets of this machine
    process.py      background processes that see a job through
    containers.py   the docker client; hosts.py the containers of one job, to their end
    jobs.py         the operations on all kinds of jobs
    training.py     training jobs; run_training.py sees one through, with results.py; channels.py their input
    tuning.py       tuning jobs; run_tuning.py sees one through, with studies.py and ranges.py
    tags.py         tags of all of these
    instances.py    what instance types are here
    packages.py     the model registry
    models.py       models and endpoint configurations
    endpoints.py    endpoints; fleets.py brings up their containers
    invocations.py  requests to endpoints, with multi_model.py and capture.py
    transform.py    transform jobs; processing.py processing jobs
    server.py       the serving container of an endpoint or a transform job
    logs.py         what containers printed
"""

from byoc_vision.local.machine import Machine


def open_engine() -> Machine:
    """Return this machine's engine. `byoc_vision.home.local` says where its state is."""
    return Machine()
