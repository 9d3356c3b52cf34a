"""Print a CycloneDX bill of materials of virtual environments and of Debian's packages: ``python3 tools/sbom.py VENV ...``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote


def component(name: str, version: str, url: str, **more: Any) -> dict[str, Any]:
    """Describe one package; `url` identifies it (https://github.com/package-url/purl-spec)."""
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url, **more}


def python_package(package: Distribution, environments: list[str]) -> dict[str, Any]:
    """Describe a package of one or several environments."""
    name, data = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower(), package.metadata.json
    licence = str(data.get("license_expression") or data.get("license") or "").strip().partition("\n")[0][:100]
    more = {"licenses": [{"license": {"name": licence}}]} if licence else {}
    where = [{"name": "environment", "value": environment} for environment in environments]
    return component(name, package.version, f"pkg:pypi/{name}@{quote(package.version)}", properties=where, **more)


def python_packages(environments: list[Path]) -> list[dict[str, Any]]:
    """Describe the packages of all environments, each version once."""
    where: dict[tuple[str, str], tuple[Distribution, list[str]]] = {}
    for environment in environments:
        for package in distributions(path=[str(folder) for folder in environment.glob("lib/python3*/site-packages")]):
            key = (package.metadata["Name"].lower(), package.version)
            where.setdefault(key, (package, []))[1].append(str(environment))
    return [python_package(*entry) for _, entry in sorted(where.items())]


def debian_packages() -> list[dict[str, Any]]:
    """Describe the installed packages of Debian or Ubuntu; none on another system."""
    fields = "${Package}\\t${Version}\\t${Architecture}\\t${db:Status-Abbrev}\\n"
    try:
        listed = subprocess.run(["dpkg-query", "--show", f"--showformat={fields}"], capture_output=True, text=True, check=True)
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE))
    except (OSError, subprocess.CalledProcessError):
        return []
    system = release.get("ID", "debian")
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    return [
        component(
            name,
            version,
            f"pkg:deb/{system}/{quote(name)}@{quote(version)}?arch={machine}&distro={system}-{release.get('VERSION_ID')}",
        )
        for name, version, machine, status in rows
        if status.startswith("ii")
    ]


def main(environments: list[str]) -> None:
    """Print the bill; it has no date, so that the same image gives the same bytes."""
    components = [*python_packages([Path(e) for e in environments]), *debian_packages()]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    print(json.dumps(bill, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
