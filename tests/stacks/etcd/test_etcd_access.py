from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from chaos.errors import SpecError, UsageError
from chaos.model import StackSpec, to_json
from chaos.spec import json_schema, load_text
from chaos.stacks.etcd.access import Access, Tls, files_of, password_in
from chaos.stacks.etcd.certificates import issue
from chaos.stacks.etcd.settings import EtcdSettings, member_process
from chaos.stacks.etcd.stack import EtcdStack

VARIABLE = "CHAOSGATE_TEST_PASSWORD"
USER = {"user": "root", "password_env": VARIABLE}
TEXT = """
chaosgate: 1
name: guarded
stack:
  etcd: {{members: 3, {stack}}}
load: {{kv: {{}}, rate: 100/s}}
warm-up: 1s
duration: 8s
gates: [linearizable]
"""


def of(**settings):
    return EtcdStack.of(StackSpec(name="etcd", settings=settings))


def read(stack):
    return load_text(TEXT.format(stack=stack), "guarded.yaml").stack.settings


def command(**settings):
    return member_process(
        EtcdSettings(**settings),
        binary=Path("/opt/etcd"),
        version="3.5.35",
        name="etcd1",
        addresses={"etcd1": "10.0.0.1", "etcd2": "10.0.0.2"},
        folder=Path("/lab/etcd1"),
        log=Path("/logs/etcd1.log"),
        seen=["ETCD_OTHER", "ETCD_UNSUPPORTED_ARCH", "HOME"],
    )


@pytest.fixture
def files(tmp_path):
    issue({}, [tmp_path])
    return files_of(tmp_path)


# ---------------------------------------------------------------- what a file may say


@pytest.mark.parametrize(("said", "read_as"), [("true", True), ("false", False)])
def test_tls_is_a_switch(said, read_as):
    assert read(f"tls: {said}")["tls"] is read_as


def test_tls_may_be_the_files_of_a_cluster_that_is_there():
    settings = read("tls: {ca: ca.pem, cert: c.pem, key: k.pem, server-name: etcd.example}")
    assert EtcdSettings.of(settings).tls == Tls(ca="ca.pem", cert="c.pem", key="k.pem", server_name="etcd.example")


def test_a_user_is_named_with_the_variable_that_holds_its_password():
    settings = read("user: root, password-env: ETCD_PASSWORD")
    assert (settings["user"], settings["password_env"]) == ("root", "ETCD_PASSWORD")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("tls: on fire", "5:27: 'on fire' is not yes or no; write true or false"),
        ("tls: {cert: c.pem}", "5:27: 'ca' is missing here"),
        ("tls: {ca: a, sni: n}", "5:35: no such key 'sni' here"),
        ("tls: {ca: ''}", "no authority is named, and then every authority of this machine's would be believed"),
        ("tls: {ca: a, key: k}", "a key without its certificate; add cert"),
        ("user: root", "5:28: a user has a password; name its environment variable, password-env: ETCD_PASSWORD"),
        ("password-env: P", "5:36: whose password? add user: root"),
        ("user: root, password-env: hunter-2!", "the name of an environment variable is wanted, never the password"),
    ],
)
def test_what_can_not_be_is_refused_at_its_place(said, problem):
    with pytest.raises(SpecError) as caught:
        read(said)
    assert problem in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_an_editor_knows_both_forms_of_tls():
    text = json.dumps(json_schema()["$defs"]["EtcdSettings"]["properties"]["tls"])
    assert '"type": "boolean"' in text
    assert "#/$defs/Tls" in text


# ---------------------------------------------------------------- before anything is touched


def test_a_password_that_is_not_in_the_environment_is_refused_by_name(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match=f"stack etcd: password-env: the environment variable {VARIABLE} is not set"):
        of(**USER)
    with pytest.raises(UsageError, match="is not set"):
        password_in(VARIABLE, {VARIABLE: ""})


def test_a_plan_needs_the_password_too(monkeypatch, tmp_path):
    from click.testing import CliRunner

    from chaos.cli import main

    file = tmp_path / "guarded.yaml"
    file.write_text(TEXT.format(stack=f"user: root, password-env: {VARIABLE}"))
    monkeypatch.delenv(VARIABLE, raising=False)
    for command in ("plan", "run"):
        refused = CliRunner().invoke(main, [command, str(file)])
        assert (refused.exit_code, f"{VARIABLE} is not set" in refused.output) == (2, True)
    monkeypatch.setenv(VARIABLE, "s3cret")
    planned = CliRunner().invoke(main, ["plan", str(file)])
    assert planned.exit_code == 0, planned.output
    assert "s3cret" not in planned.output


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_file_that_is_not_there_is_named(files, missing):
    with pytest.raises(UsageError, match=f"stack etcd: tls: {missing}: /none.pem: No such file"):
        of(tls={**to_json(files), missing: "/none.pem"})


def test_a_file_that_is_no_certificate_is_named(files, tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(UsageError, match=r"tls: .*no\.pem.*PEM files are wanted"):
        of(tls={**to_json(files), "ca": str(tmp_path / "no.pem")})


def test_a_key_of_another_certificate_is_refused(files, tmp_path):
    issue({}, [tmp_path / "other"])
    with pytest.raises(UsageError, match="a key without passphrase that fits cert"):
        of(tls={**to_json(files), "key": files_of(tmp_path / "other").key})


def test_an_authority_has_to_be_named(files):
    with pytest.raises(UsageError, match="ca: no authority is named"):
        of(tls={**to_json(files), "ca": ""})


@pytest.mark.parametrize("apart", [True, False], ids=["a-file-of-its-own", "with-the-certificate"])
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(files, apart):
    """In a process whose terminal would be asked: what waits there for an answer is ended, and seen."""
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    Path(files.key).write_bytes(sealed if apart else Path(files.cert).read_bytes() + sealed)
    said = {"ca": files.ca, "cert": files.cert if apart else files.key, "key": files.key if apart else ""}
    program = "import json, sys; from chaos.stacks.etcd.access import Tls; Tls(**json.loads(sys.argv[1])).check()"
    controller, terminal = pty.openpty()
    try:
        asked = subprocess.run(
            ["setsid", "--ctty", "--wait", sys.executable, "-c", program, json.dumps(said)],
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert f"{files.key}: the key is encrypted, and there is nobody to ask; PEM files" in asked.stderr


def test_a_lab_makes_no_cluster_of_somebody_elses_certificates(files):
    with pytest.raises(UsageError, match=r"a cluster that is there already.*write tls: true"):
        of(tls=to_json(files)).nodes()


# ---------------------------------------------------------------- the members


def test_a_member_with_tls_shows_a_certificate_and_asks_for_one_on_both_ports():
    argv = command(tls=True).argv
    assert "--listen-client-urls=https://10.0.0.1:2379" in argv
    assert "--initial-cluster=etcd1=https://10.0.0.1:2380,etcd2=https://10.0.0.2:2380" in argv
    for side in ("", "peer-"):
        assert f"--{side}client-cert-auth=true" in argv
        assert f"--{side}cert-file=/lab/etcd1/tls/cert.pem" in argv
        assert f"--{side}key-file=/lab/etcd1/tls/key.pem" in argv
        assert f"--{side}trusted-ca-file=/lab/etcd1/tls/ca.pem" in argv


def test_a_member_without_tls_knows_of_no_certificate():
    assert not [option for option in command().argv if "https" in option or "cert" in option or "key" in option]


def test_a_member_is_not_told_the_password():
    process = command(**USER)
    assert process.env == {VARIABLE: "", "ETCD_OTHER": ""}
    assert "--bcrypt-cost=4" in process.argv
    assert not [option for option in command().argv if "bcrypt" in option]


def test_keys_are_for_us_alone_and_the_authoritys_is_nowhere(tmp_path):
    issue({tmp_path / "etcd1": "10.0.0.1"}, [tmp_path / "client1"])
    keys = [path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert sorted(keys) == [tmp_path / "client1/tls/key.pem", tmp_path / "etcd1/tls/key.pem"]
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


# ---------------------------------------------------------------- nothing tells


def test_a_password_is_in_no_representation(monkeypatch):
    monkeypatch.setenv(VARIABLE, "s3cret")
    stack = of(**USER)
    assert {stack.password} == {"s3cret"}
    assert "s3cret" not in repr(stack)
    assert "s3cret" not in repr(Access(user="root", password=stack.password))
    assert "s3cret" not in json.dumps(to_json(stack.spec))
