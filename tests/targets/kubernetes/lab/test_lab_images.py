"""An image's archive: what a runtime reads from it, and that the same files give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

from chaos.targets.kubernetes.lab.images import Image, write


def made(tmp_path, name="image.tar", **more):
    root = tmp_path / f"root-{name}"
    root.mkdir()
    (root / "app").write_text("#!/bin/sh\n")
    (root / "app").chmod(0o755)
    (root / "link").symlink_to("app")
    write(tmp_path / name, Image(tag="localhost/x:1", root=root, entrypoint=("/app", "--on"), **more))
    return tmp_path / name


def read(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def test_a_runtime_finds_configuration_and_layer_where_the_manifest_says(tmp_path):
    files = read(made(tmp_path, env=("A=1",)))
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    layer = files[manifest["Layers"][0]]
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert config["config"] == {"Entrypoint": ["/app", "--on"], "Env": ["A=1"]}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert manifest["Config"] == f"{hashlib.sha256(files[manifest['Config']]).hexdigest()}.json"


def test_the_layer_has_the_files_as_they_were_and_what_a_runtime_mounts_upon(tmp_path):
    files = read(made(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(files[json.loads(files["manifest.json"])[0]["Layers"][0]])) as layer:
        found = {member.name: member for member in layer.getmembers()}
    assert found["app"].mode == 0o755
    assert found["link"].linkname == "app"
    assert {"dev", "proc", "sys", "etc", "tmp"} <= found.keys()
    assert found["tmp"].mode == 0o1777
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in found.values()} == {(0, 0, "", 0)}


def test_the_same_files_give_the_same_bytes(tmp_path):
    one = made(tmp_path, "one.tar")
    os.utime(tmp_path / "root-one.tar" / "app", (1, 1))
    assert one.read_bytes() == made(tmp_path, "two.tar").read_bytes()


def test_nothing_but_the_archive_stays(tmp_path):
    archive = made(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, f"root-{archive.name}"}
