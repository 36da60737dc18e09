#!/usr/bin/env bash
# What a user types with the AWS command line: nothing in it knows that it runs against this machine.
#
# usage: aws_cli.sh PICTURES SCRATCH      with the variables of `byoc service env`
set -euo pipefail
pictures=$1 scratch=$2
bucket=s3://sagemaker-$AWS_REGION-$(aws sts get-caller-identity --query Account --output text)
train=$(aws ecr describe-repositories --repository-names byoc-vision-train \
    --query 'repositories[0].repositoryUri' --output text):latest
role=$(aws iam get-role --role-name local --query Role.Arn --output text)
mkdir -p "$scratch"
cd "$scratch"

aws s3 cp --quiet --recursive "$pictures" "$bucket/cli/pictures/"
aws s3 sync "$pictures" "$bucket/cli/pictures/" >synced.txt
[[ ! -s synced.txt ]] # what is there already is not sent again
aws s3 ls --recursive "$bucket/cli/pictures/test/" >listed.txt
[[ $(wc -l <listed.txt) == 12 ]]
echo text | aws s3 cp - "$bucket/cli/a/ü b.txt"
aws s3 mv --quiet --recursive "$bucket/cli/a/" "$bucket/cli/b/"
[[ $(curl --silent --show-error "$(aws s3 presign "$bucket/cli/b/ü b.txt")") == text ]]
mkdir empty
aws s3 sync --quiet --delete empty "$bucket/cli/b/"
aws s3 ls "$bucket/cli/b/" && exit 1

aws sagemaker create-training-job --training-job-name cli-trained --role-arn "$role" \
    --algorithm-specification "TrainingImage=$train,TrainingInputMode=File" \
    --hyper-parameters arch=mobilenet_v3_small,pretrained=false,train-layers=all,image-size=32,batch-size=8,epochs=1,workers=0 \
    --input-data-config "ChannelName=training,DataSource={S3DataSource={S3DataType=S3Prefix,S3Uri=$bucket/cli/pictures/}}" \
    --output-data-config "S3OutputPath=$bucket/cli/results" \
    --resource-config InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=30 \
    --stopping-condition MaxRuntimeInSeconds=3600 --environment OMP_NUM_THREADS=1 --tags Key=made,Value=cli >/dev/null
aws sagemaker wait training-job-completed-or-stopped --training-job-name cli-trained
model=$(aws sagemaker describe-training-job --training-job-name cli-trained \
    --query ModelArtifacts.S3ModelArtifacts --output text)
[[ $model == "$bucket/cli/results/cli-trained/output/model.tar.gz" ]]
aws sagemaker list-training-jobs --name-contains cli-trained --query 'TrainingJobSummaries[].TrainingJobName' \
    --output text | grep -qx cli-trained
aws logs filter-log-events --log-group-name /aws/sagemaker/TrainingJobs --log-stream-name-prefix cli-trained/ \
    --query 'events[].message' --output text | tr '\t' '\n' | grep -q '^epoch=1 '

aws s3 cp --quiet "$bucket/cli/results/cli-trained/output/output.tar.gz" .
tar -xzf output.tar.gz
grep -q '<html' report.html

aws sagemaker create-model --model-name cli --execution-role-arn "$role" \
    --primary-container "Image=byoc-vision-serve-cpu:latest,ModelDataUrl=$model" >/dev/null
aws sagemaker create-endpoint-config --endpoint-config-name cli --production-variants \
    VariantName=AllTraffic,ModelName=cli,InstanceType=ml.m5.large,InitialInstanceCount=1 >/dev/null
aws sagemaker create-endpoint --endpoint-name cli --endpoint-config-name cli >/dev/null
aws sagemaker wait endpoint-in-service --endpoint-name cli
picture=$(find "$pictures/test" -name '*.jpg' -print -quit)
aws sagemaker-runtime invoke-endpoint --endpoint-name cli --content-type image/jpeg --body "fileb://$picture" answer.json
grep -q '"predictions"' answer.json
aws sagemaker delete-endpoint --endpoint-name cli
aws sagemaker wait endpoint-deleted --endpoint-name cli
aws sagemaker delete-endpoint-config --endpoint-config-name cli
aws sagemaker delete-model --model-name cli
aws s3 rm --quiet --recursive "$bucket/cli/"
! aws s3 ls "$bucket/cli/"
