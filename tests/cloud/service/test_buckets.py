"""S3 on this machine: buckets and listings, and what it has not."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.local import objects
from tests.cloud.service.conftest import BUCKET, Service, keys, refused


def test_listing_is_in_the_order_of_keys_in_pages_and_folded(s3: Any) -> None:
    names = ["a", "a-b/c", "a.b", "a/b/c", "a/b/d", "a/e", "b/f", "b0", "ä"]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
        if name == "a":
            s3.delete_object(Bucket=BUCKET, Key=name)
    names.remove("a")
    for size in (1, 2, 3, 1000):
        assert keys(s3, PaginationConfig={"PageSize": size}) == names
        pages = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": size})
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == names
        paginator = s3.get_paginator("list_objects_v2")
        pages = list(paginator.paginate(Bucket=BUCKET, Delimiter="/", Prefix="a", PaginationConfig={"PageSize": size}))
        folded = [
            [entry["Key"] for page in pages for entry in page.get("Contents", [])],
            [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])],
        ]
        assert folded == [["a.b"], ["a-b/", "a/"]]
    assert keys(s3, Prefix="a/b") == ["a/b/c", "a/b/d"]
    assert keys(s3, Prefix="a/", StartAfter="a/b/c") == ["a/b/d", "a/e"]
    assert keys(s3, Prefix="nothing/") == []
    found = s3.list_objects_v2(Bucket=BUCKET, Delimiter="b")
    assert [entry["Prefix"] for entry in found["CommonPrefixes"]] == ["a-b", "a.b", "a/b", "b"]
    with refused("InvalidArgument"):
        s3.list_objects_v2(Bucket=BUCKET, MaxKeys=-1)
    for forged in ("a", "ä", "%ff", "YQ"):
        with refused("InvalidArgument", "continuation token"):
            s3.list_objects_v2(Bucket=BUCKET, ContinuationToken=forged)
    assert not s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)["IsTruncated"]
    first = s3.list_objects(Bucket=BUCKET, Delimiter="/", MaxKeys=1, EncodingType="url")
    assert (first["CommonPrefixes"], first["NextMarker"]) == ([{"Prefix": "a-b/"}], "a-b/")


def test_a_large_folder_is_read_once_for_its_pages(s3: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = service.store.root / "s3" / BUCKET / "many"
    folder.mkdir()
    names = [f"many/{number:02}" for number in range(20)]
    for name in names:
        (folder.parent / name).touch()
    monkeypatch.setattr(objects, "_MANY", 10)
    monkeypatch.setattr(objects, "_STEP", -1 << 62)
    read, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: read.append(Path(place)) or scandir(place))
    assert keys(s3, Prefix="many/", PaginationConfig={"PageSize": 3}) == names
    assert read == [folder]
    time.sleep(0.02)  # the clock of the file system has gone on
    (folder / "05a").touch()
    assert keys(s3, Prefix="many/") == sorted([*names, "many/05a"])


def test_where_a_listing_begins_in_a_folder_that_is_folded(s3: Any) -> None:
    for name in ("a/b/c", "a/d", "b"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    for after, common in (("a/b/c", ["a/"]), ("a/d", [])):
        found = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/", StartAfter=after).get("CommonPrefixes", [])
        assert [each["Prefix"] for each in found] == common


def test_buckets_are_listed_as_asked_for(s3: Any) -> None:
    for name in ("a-1", "a-2", "a-3"):
        s3.create_bucket(Bucket=name)

    def named(**options: Any) -> list[list[str]]:
        pages = s3.get_paginator("list_buckets").paginate(**options)
        return [[bucket["Name"] for bucket in page["Buckets"]] for page in pages]

    assert named(PaginationConfig={"PageSize": 2}) == [["a-1", "a-2"], ["a-3", BUCKET]]
    assert named(Prefix="a-", PaginationConfig={"PageSize": 2}) == [["a-1", "a-2"], ["a-3"]]
    assert named(BucketRegion="us-east-1", Prefix="p") == [[BUCKET]]
    assert s3.list_buckets(BucketRegion="eu-west-1").get("Buckets", []) == []


def test_what_is_deleted_only_on_a_condition(s3: Any) -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")["ETag"]
    for condition in ({"ETag": '"other"'}, {"Size": 7}, {"LastModifiedTime": 0}):
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"} | condition]})
        assert [error["Key"] for error in answer["Errors"]] == ["a"]
    for condition in ({"IfMatchSize": 7}, {"IfMatchLastModifiedTime": 0}):
        with refused("NotImplemented", "x-amz-if-match-"):
            s3.delete_object(Bucket=BUCKET, Key="a", **condition)
    with refused("MalformedXML", "1000 objects at most"):
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}] * 1001})
    assert keys(s3) == ["a"]
    assert s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a", "ETag": etag}]})["Deleted"]
    assert keys(s3) == []


def test_buckets(s3: Any, service: Service) -> None:
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == [BUCKET]
    s3.create_bucket(Bucket=BUCKET)  # one's own
    s3.head_bucket(Bucket=BUCKET)
    assert service.client("s3", "eu-west-1").head_bucket(Bucket=BUCKET)["BucketRegion"] == "us-east-1"  # sent again
    with refused("IllegalLocationConstraintException", "this machine is us-east-1"):
        s3.create_bucket(Bucket="other", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    with refused("BucketNotEmpty"):
        s3.delete_bucket(Bucket=BUCKET)
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}, {"Key": "none"}]})
    s3.delete_bucket(Bucket=BUCKET)
    for call in (s3.list_objects_v2, s3.delete_bucket):
        with refused("NoSuchBucket"):
            call(Bucket=BUCKET)
    with refused("NoSuchBucket"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    assert service.ask("PUT", "/.uploads")[0] == 400
    assert service.ask("PUT", "/.uploads/a", b"x")[0] == 404
    with refused("404"):
        s3.head_bucket(Bucket="none")


def test_what_s3_is_not_asked_here_is_said(s3: Any, service: Service) -> None:
    for call in (s3.get_bucket_acl, s3.get_bucket_policy, s3.get_bucket_encryption):
        with refused("NotImplemented"):
            call(Bucket=BUCKET)
    for body in (b"", b"<Delete>", b'<!DOCTYPE a [<!ENTITY b "c">]><Delete/>'):
        assert b"MalformedXML" in service.ask("POST", f"/{BUCKET}?delete", body)[1]


def test_each_object_has_one_version(s3: Any, service: Service) -> None:
    """Notebooks clean up with `bucket.object_versions.delete()`."""
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    names = ["a", "b/c d", "b/ü"]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    for size in (1, 1000):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": size})
        found = [version for page in pages for version in page["Versions"]]
        assert [(each["Key"], each["VersionId"], each["IsLatest"]) for each in found] == [
            (name, "null", True) for name in names
        ]
    folded = s3.list_object_versions(Bucket=BUCKET, Delimiter="/")
    assert [each["Prefix"] for each in folded["CommonPrefixes"]] == ["b/"]
    assert s3.get_object(Bucket=BUCKET, Key="a", VersionId="null")["Body"].read() == b"x"
    wanted = [{"Key": "a", "VersionId": "other"}, *({"Key": name, "VersionId": "null"} for name in names[1:])]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": wanted})
    assert [error["Code"] for error in answer["Errors"]] == ["NoSuchVersion"]
    assert keys(s3) == ["a"]


def test_what_clients_ask_by_the_way(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    assert s3.get_object_tagging(Bucket=BUCKET, Key="a")["TagSet"] == []
    with refused("NoSuchKey"):
        s3.get_object_tagging(Bucket=BUCKET, Key="none")
    for found in (s3.list_objects(Bucket=BUCKET), s3.list_objects_v2(Bucket=BUCKET, FetchOwner=True)):
        assert found["Contents"][0]["Owner"]["ID"]
    assert "Owner" not in s3.list_objects_v2(Bucket=BUCKET)["Contents"][0]
    told = s3.get_object_attributes(Bucket=BUCKET, Key="a", ObjectAttributes=["ObjectSize", "ETag"])
    assert (told["ObjectSize"], f'"{told["ETag"]}"') == (1, s3.head_object(Bucket=BUCKET, Key="a")["ETag"])
