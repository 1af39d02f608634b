"""What can be known of docker/ without an engine: that compose files are what the specification allows, that everything they
and the Dockerfile name is there, that every variable is explained, and that tidegate takes the commands it is given.

usage: ops.py TIDEGATE_BINARY
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?:(:?[-?])([^}]*))?\}")
faults = []


def check(holds, what):
    if not holds:
        faults.append(what)


class Loader(yaml.SafeLoader):
    """YAML 1.2's truth values, as tidegate, editors and compose have them: on and off are words."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def merged(path):
    return yaml.load(path.read_text(), Loader=Loader)


def schema():
    allowed = json.loads((DOCKER / "schema/compose-spec.json").read_text())
    for path in (DOCKER / "docker-compose.yml", ROOT / "compose.yaml"):
        for error in jsonschema.Draft7Validator(allowed).iter_errors(merged(path)):
            faults.append(f"{path.name}: {'/'.join(map(str, error.path))}: {error.message[:200]}")
    include = merged(ROOT / "compose.yaml")["include"][0]
    check((ROOT / include["path"]).is_file(), "compose.yaml includes a file that is not there")


def environment():
    text = (DOCKER / "docker-compose.yml").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    used = {match[1]: match for match in VARIABLE.finditer(code)}
    example = dict(
        line.split("=", 1) for line in (DOCKER / ".env.example").read_text().splitlines() if "=" in line and line[0] != "#"
    )
    check(set(used) == set(example), f".env.example and docker-compose.yml differ in {set(used) ^ set(example)}")
    for name, match in used.items():
        if match[2] == ":-":
            check(example.get(name) == match[3], f"{name}: the default is {match[3]!r}, the example {example.get(name)!r}")
        else:
            check(name == "DB_USER" or example.get(name) == "change-me", f"{name}: a secret without change-me")
    return example


def expand(value, example):
    return VARIABLE.sub(lambda match: example.get(match[1], match[3] or ""), value).replace("$$", "$")


def services(example, binary):
    compose = merged(DOCKER / "docker-compose.yml")
    all_services = compose["services"]
    names = set(all_services)
    for name, service in all_services.items():
        once = any(
            isinstance(other.get("depends_on"), dict)
            and other["depends_on"].get(name, {}).get("condition") == "service_completed_successfully"
            for other in all_services.values()
        )
        health = service.get("healthcheck")
        check(once or health, f"{name}: no health check")
        if health and not health.get("disable"):
            check({"test", "interval", "timeout", "retries"} <= set(health), f"{name}: the health check lacks a limit")
        check(once or service.get("restart"), f"{name}: no restart policy")
        for other, how in (service.get("depends_on") or {}).items():
            check(other in names, f"{name}: depends on {other}, which is nobody")
            check("condition" in how, f"{name}: depends on {other} without a condition")
            if how.get("condition") == "service_healthy":
                check(all_services[other].get("healthcheck"), f"{name}: waits for the health of {other}, which tells none")
            mine, theirs = set(service.get("profiles", [])), set(all_services[other].get("profiles", []))
            check(not theirs or mine and mine <= theirs, f"{name}: {other} does not come up in all profiles of it")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                check((DOCKER / source).exists(), f"{name}: {source} is not there")
            else:
                check(source in compose["volumes"], f"{name}: no volume {source}")
        for port in service.get("ports", []):
            check(port.startswith("127.0.0.1:"), f"{name}: port {port} is open to the network")
        for secret in service.get("secrets", []):
            check(secret in compose["secrets"], f"{name}: no secret {secret}")
        if "tidegate" in service.get("image", ""):
            takes(name, service, example, binary)
    profiles = {profile for service in all_services.values() for profile in service.get("profiles", [])}
    for script in ("start.sh", "start.ps1"):
        text = (DOCKER / script).read_text()
        check(all(profile in text for profile in profiles), f"{script} does not know all of {sorted(profiles)}")


def takes(name, service, example, binary):
    """The command is one that tidegate knows, with settings that are valid under this environment."""
    command = [expand(str(word), example) for word in service["command"]]
    config = [command[i + 1] for i, word in enumerate(command) if word == "--config"]
    for path in config:
        check((ROOT / path).is_file(), f"{name}: {path} is not in the image")
    variables = {key: expand(str(value), example) for key, value in (service.get("environment") or {}).items()}
    bare = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
    # --help reads all that stands before it, and refuses what is unknown; an unknown pipeline too.
    ran = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, env=bare | variables, cwd=ROOT)
    check(ran.returncode == 0, f"{name}: {' '.join(command)}: {ran.stderr[:500]}")
    pipeline = command[1] if command[0] == "run" else None
    known = subprocess.run([binary, "run", "--help"], capture_output=True, text=True, env=bare, cwd=ROOT)
    names = re.search(r"possible values: ([^]]*)", known.stdout).group(1)
    check(pipeline is None or pipeline in re.split(r"[,\s]+", names), f"{name}: there is no pipeline {pipeline}")
    if pipeline:
        section = pipeline.split("-")[0]
        default = merged(ROOT / "config/dev.yaml")[section]["sinks"]["tables"]
        tables = variables.get(f"TIDEGATE_{section.upper()}_SINKS_TABLES", default).split(",")
        for store, server in (("postgres", "postgres"), ("mongo", "mongodb")):
            there = store not in map(str.strip, tables) or server in (service.get("depends_on") or {})
            check(there, f"{name}: its tables go to {store}, and {server} is not waited for")
    validate = [binary, "validate", *(["--config", config[0]] if config else [])]
    ran = subprocess.run(validate, capture_output=True, text=True, env=bare | variables, cwd=ROOT)
    check(ran.returncode == 0, f"{name}: the settings are not valid: {ran.stderr[:1000]}")


def dockerfile():
    text = (DOCKER / "Dockerfile").read_text()
    for line in text.splitlines():
        if line.startswith("COPY") and "--from" not in line:
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            check(all((ROOT / source).exists() for source in sources), f"Dockerfile: {line}")
    # What the build is sent is enough for cargo to see all that the manifests name, and for every file that is compiled in.
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    with tempfile.TemporaryDirectory() as place:
        for name in allowed:
            source, target = ROOT / name, pathlib.Path(place) / name
            check(source.exists(), f".dockerignore: {name} is not there")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", source, target], check=True)
        for gone in [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("tests/")]:
            subprocess.run(["rm", "-rf", pathlib.Path(place) / gone], check=True)
        ran = subprocess.run(
            ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"],
            capture_output=True, text=True, cwd=place,
        )
        check(ran.returncode == 0, f"the build's context lacks something: {ran.stderr[:800]}")
        if ran.returncode == 0:
            for package in json.loads(ran.stdout)["packages"]:
                for target in package["targets"]:
                    check(pathlib.Path(target["src_path"]).is_file(), f"the build's context lacks {target['src_path']}")
        for folder in ("src", "dataflows"):
            for path in (pathlib.Path(place) / folder).rglob("*.rs"):
                for match in re.finditer(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()):
                    check((path.parent / match[1]).resolve().is_file(), f"{path.name}: {match[1]} is not in the build's context")


def libraries(binary):
    """What the program wants of the image: the C library and OpenSSL."""
    ldd = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    wanted = {line.split()[0].split("/")[-1].split(".so")[0] for line in ldd.splitlines() if line.strip()}
    there = {"linux-vdso", "libssl", "libcrypto", "libgcc_s", "libm", "libc", "libpthread", "libdl", "librt", "ld-linux-x86-64"}
    check(wanted <= there, f"the image lacks {wanted - there}")


def settings(binary):
    bare = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
    for name in ("dev", "prod"):
        ran = subprocess.run([binary, "validate", "--config", f"config/{name}.yaml"], capture_output=True, text=True, env=bare, cwd=ROOT)
        check(ran.returncode == 0, f"config/{name}.yaml: {ran.stderr[:1000]}")
    variables = [line.lstrip("#").split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"#?[A-Z_]+=", line)]
    check(len(variables) == len(set(variables)), ".env.example says something twice")
    # The variables are read: with nonsense in those of settings, something is wrong.
    with tempfile.TemporaryDirectory() as place:
        (pathlib.Path(place) / ".env").write_text((ROOT / ".env.example").read_text())
        ran = subprocess.run([binary, "validate"], capture_output=True, text=True, env=bare, cwd=place)
        check(ran.returncode == 0 and ".env" in ran.stderr, f".env.example: {ran.stderr[:1000]}")
        schema = json.loads(subprocess.run([binary, "schema"], capture_output=True, text=True, env=bare, check=True).stdout)
        jsonschema.Draft202012Validator.check_schema(schema)
        for name in ("dev", "prod"):
            for error in jsonschema.Draft202012Validator(schema).iter_errors(merged(ROOT / f"config/{name}.yaml")):
                faults.append(f"config/{name}.yaml is not what its schema says: {'/'.join(map(str, error.path))}: {error.message[:200]}")


def documents():
    """Links between the documents lead somewhere."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("dbt/*.md"), *ROOT.glob("docker/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            check((path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target} is not there")


def main():
    binary = os.path.abspath(sys.argv[1])
    schema()
    services(environment(), binary)
    dockerfile()
    libraries(binary)
    settings(binary)
    documents()
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(1 if faults else 0)


main()
