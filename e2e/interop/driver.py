"""The Python reference, driven by lines of JSON.

Reads one request a line from standard input and answers each with one line on standard output, {"ok": true, …} or
{"ok": false, "error": "…"}; ends with its input. One process serves a whole table of tests, because importing the
reference takes longer than most of what it is asked.

Requests, by "do":
  version      which release it is
  keys         folder: writes p256.pem, p256.pub, … of each curve
  pki          folder: writes a root, an intermediate and leaves (see below) with their keys
  sign         model, signature, signer, hashing
  verify       model, signature, signer, hashing
  sign_raw     payload (text), signature, key: a bundle around whatever is in the payload

"hashing": {"method": "files" | "shards", "hash": "sha256" | "blake2b" | "blake3", "shard_size": 1000,
            "ignore": [paths in the model], "ignore_git": true, "symlinks": false}
"signer":  {"kind": "key", "private": FILE, "public": FILE}
           | {"kind": "certificate", "private": FILE, "leaf": FILE, "chain": [FILE], "roots": [FILE]}
"""

import base64
import contextlib
import datetime
import io
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
import model_signing
from model_signing import hashing, signing, verifying
from model_signing._signing import sign_ec_key, sign_sigstore_pb

CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}

# The names that the reference's options have, by the names that it writes.
HASHES = {"sha256": "sha256", "blake2b": "blake2", "blake3": "blake3"}


def hashing_config(wish):
    common = {"hashing_algorithm": HASHES[wish["hash"]]}
    config = hashing.Config()
    if wish["method"] == "shards":
        config.use_shard_serialization(shard_size=wish["shard_size"], **common)
    else:
        config.use_file_serialization(**common)
    config.set_ignored_paths(paths=wish["ignore"], ignore_git_paths=wish["ignore_git"])
    config.set_allow_symlinks(wish["symlinks"])
    return config


def sign(request):
    signer = request["signer"]
    config = signing.Config()
    if signer["kind"] == "key":
        config.use_elliptic_key_signer(private_key=signer["private"])
    else:
        config.use_certificate_signer(
            private_key=signer["private"],
            signing_certificate=signer["leaf"],
            certificate_chain=signer["chain"],
        )
    config.set_hashing_config(hashing_config(request["hashing"]))
    config.sign(pathlib.Path(request["model"]), pathlib.Path(request["signature"]))


def verify(request):
    signer = request["signer"]
    config = verifying.Config()
    if signer["kind"] == "key":
        config.use_elliptic_key_verifier(public_key=signer["public"])
    else:
        config.use_certificate_verifier(certificate_chain=[pathlib.Path(root) for root in signer["roots"]])
    config.set_hashing_config(hashing_config(request["hashing"]))
    config.verify(pathlib.Path(request["model"]), pathlib.Path(request["signature"]))


def sign_raw(request):
    """As the reference's signer does it, for payloads that it would not write."""
    key = serialization.load_pem_private_key(pathlib.Path(request["key"]).read_bytes(), None)
    payload = request["payload"].encode()
    made = key.sign(sign_sigstore_pb.pae(payload), ec.ECDSA(sign_ec_key.get_ec_key_hash(key.public_key())))
    signature = {"sig": base64.b64encode(made).decode(), "keyid": ""}
    material = sign_ec_key.Signer(pathlib.Path(request["key"]))._get_verification_material()
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": material.public_key.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [signature] * request.get("signatures", 1),
        },
    }
    pathlib.Path(request["signature"]).write_text(json.dumps(bundle))


def write_key(path, key):
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


def keys(request):
    folder = pathlib.Path(request["folder"])
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    for name, curve in CURVES.items():
        key = ec.generate_private_key(curve)
        write_key(folder / f"{name}.pem", key)
        (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))


def certificate(name, key, issuer, issuer_key, *, ca, code_signing):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"],
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()), critical=False
        )
    )
    if code_signing:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        address = x509.SubjectAlternativeName([x509.RFC822Name("release@example.com")])
        builder = builder.add_extension(address, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def pki(request):
    """root.crt signs intermediate.crt, which signs strict.crt (what profile Strict asks for) and lax.crt (a CA
    certificate used as a leaf, as the reference's own test data is)."""
    folder = pathlib.Path(request["folder"])
    root_key, intermediate_key = (ec.generate_private_key(CURVES["p384"]) for _ in range(2))
    root = certificate("Test root", root_key, None, None, ca=True, code_signing=False)
    intermediate = certificate("Test intermediate", intermediate_key, root, root_key, ca=True, code_signing=False)
    made = {"root": root, "intermediate": intermediate}
    for name, curve, ca in [("strict", "p256", False), ("lax", "p384", True)]:
        key = ec.generate_private_key(CURVES[curve])
        write_key(folder / f"{name}.pem", key)
        made[name] = certificate(f"Test {name}", key, intermediate, intermediate_key, ca=ca, code_signing=not ca)
    for name, each in made.items():
        (folder / f"{name}.crt").write_bytes(each.public_bytes(serialization.Encoding.PEM))


ACTIONS = {
    "version": lambda request: {"version": model_signing.__version__},
    "keys": keys,
    "pki": pki,
    "sign": sign,
    "verify": verify,
    "sign_raw": sign_raw,
}


def answer(line):
    try:
        request = json.loads(line)
        # The reference prints warnings; standard output is for answers.
        with contextlib.redirect_stdout(io.StringIO()):
            more = ACTIONS[request["do"]](request)
        return {"ok": True, **(more or {})}
    except Exception as error:  # Whatever it raises is its way to refuse.
        return {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}


for each in sys.stdin:
    print(json.dumps(answer(each)), flush=True)
