"""Wheels written by hand, so that nothing is fetched and nothing is needed to build them."""
import base64
import hashlib
import io
import zipfile

DATE = (2026, 1, 1, 0, 0, 0)


def wheel(name, version, files, requires=()):
    """(file name, bytes) of a wheel of pure Python."""
    info = f"{name}-{version}.dist-info"
    members = {path: data.encode() for path, data in files.items()}
    needs = "".join(f"Requires-Dist: {what}\n" for what in requires)
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in members.items())
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for path, data in members.items():
            z.writestr(zipfile.ZipInfo(path, DATE), data)
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def says(name, version, **more):
    """A package that says its version."""
    return wheel(name, version, {f"{name}/__init__.py": f"SAYS = '{name} {version}'\n"}, **more)
