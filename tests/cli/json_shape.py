#!/usr/bin/env python3
"""Checks that standard input is one JSON object of the form that the design page promises."""
import json
import re
import sys

RETIREMENT = {"pending", "effective", "failed", "unknown"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def time(value):
    return isinstance(value, str) and TIME.fullmatch(value) is not None


def integer(value):
    return type(value) is int and value >= 0


def text(value):
    return isinstance(value, str)


def flag(value):
    return isinstance(value, bool)


def one_of(*words):
    return lambda value: value in words


def maybe(kind):
    return lambda value: value is None or kind(value)


KIND = one_of("ue", "ce", "deferred", "media", "injected", "poisoned")
RESOLUTION = {"repaired", "replaced", "cleared", "acquitted"}
REACH = one_of("excludes", "carries")
REPLAY_STATES = ("effective", "already", "excluded", "absent", "taken", "failed", "pending", "unknown")
RANGE = {"address": integer, "size": integer}
SHAPES = {
    "poisonctl/records-v1": {
        "page_size": integer,
        "records": [{
            "id": integer, "host": text, **RANGE, "exact": flag,
            "condition": one_of("suspect", "faulty", "resolved", "quarantined"),
            "retirement": one_of(*RETIREMENT),
            "severity": KIND, "sources": [text], "first_seen": time, "last_seen": time,
            "events": integer, "node": maybe(integer), "label": text, "dram": text,
            "reopened": integer, "resolution?": one_of(*RESOLUTION), "reason?": text,
            "resolved?": time}],
        "evidence?": [{
            "event": integer, "kind": KIND, "count": integer, "source": text, "host": text,
            "label": text, "dram": text, "evidence": text}]},
    "poisonctl/findings-v1": {
        "findings": [{
            "rule": text, "severity": one_of("error", "warning", "note"), **RANGE,
            "other": maybe(integer),
            "message": text}]},
    "poisonctl/plan-v1": {
        "generation": integer,
        "backends": [{
            "name": text, "reach": REACH, "available": flag, "reason": text, "covered": [RANGE],
            "refused": [{**RANGE, "reason": text}], "side_effects": [text],
            "artifact": maybe(text)}]},
    "poisonctl/verify-v1": {
        "ranges": [{**RANGE, "retirement": one_of(*RETIREMENT), "how": text}]},
    "poisonctl/backends-v1": {
        "backends": [{"name": text, "summary": text, "reach": REACH, "available": flag,
                      "reason": text}]},
    "poisonctl/events-v1": {
        **RANGE,
        "events": [{
            "id": integer, "time": time,
            "kind": lambda value: KIND(value) or value in ("outcome", "resolution"),
            "state": one_of("", *RETIREMENT, *RESOLUTION), **RANGE, "granularity": integer,
            "count": integer, "observed": maybe(time), "label": text, "dram": text,
            "result": text, "evidence": text, "source": text, "source_version": text,
            "origin": text, "tool": text, "uid": integer, "boot_id": text,
            "monotonic_ns": integer, "kernel_release": text, "host_id": text,
            "product_uuid": text, "product_serial": text, "page_size": integer}]},
    "poisonctl/topology-v1": {
        "digest": text, "can_tell": text,
        "modules": [{
            "slot": text, "manufacturer": text, "serial": text, "part": text, "bytes": integer,
            "speed": integer, "mappings": [{**RANGE, "way": text}]}],
        "ram": [RANGE], "nodes": [{**RANGE, "node": integer}],
        "cxl": [{**RANGE, "granularity": integer, "serials": [text]}]},
    "poisonctl/topology-diff-v1": {
        "differences": [{"snapshot": text, "lines": [text]}], "unaffected": integer,
        "not_known": integer, "quarantined": integer, "replaced": integer},
    "poisonctl/handover-v1": {
        "trust": one_of("accept", "quarantine", "refuse"),
        "findings": [{"rule": text, "message": text}], "generation": integer, "created": time,
        "host": text, "topology": text, "page_size": integer, "ranges": integer,
        "public_key": text, "retire": [RANGE], "refused": [{**RANGE, "reason": text}]},
    "poisonctl/kho-v1": {
        "known_version": text,
        "directions": [{"direction": one_of("in", "out"), "version": maybe(text),
                        "memory_map": maybe(integer),
                        "subtrees": [{"name": text, "address": maybe(integer),
                                      "blob_size": maybe(integer), "bytes": integer,
                                      "decoded": lambda value: value is None or bool(value)}]}],
        "scratch": [RANGE], "findings": [text]},
    "poisonctl/kho-receive-v1": {
        "lists": [{"from": text, "trust": one_of("accept", "quarantine", "refuse"),
                   "generation": integer, "ranges": integer, "bytes": integer}],
        "taken": maybe(text), "added": integer, "quarantined": integer, "findings": [text]},
    "poisonctl/audit-v1": {
        "events": integer, "head": text, "first_bad": maybe(integer), "findings": [text],
        "checkpoint": maybe(lambda value: {"events", "time", "public_key"} == set(value))},
    "poisonctl/config-v1": {
        "files": [text],
        "settings": [{"section": text, "key": text, "value": text, "file": text, "line": integer}],
        "problems": [{"file": text, "line": integer, "message": text}]},
    "poisonctl/status-v1": {
        "registry": text, "registry_exists": flag, "generation": integer, "page_size": integer,
        "kernel_release": text, "boot_id": text, "ram_bytes": integer,
        "left_out_bytes": integer, "hardware_corrupted_bytes": integer, "faulty": integer,
        "suspect": integer, "resolved": integer, "quarantined": integer, "effective": integer, "pending": integer,
        "failed": integer, "unknown": integer, "retire_list_bytes": integer, "findings": integer,
        "cxl_devices": [{"memdev": text, "serial": integer,
                         "complaints": maybe(lambda value: isinstance(value, list))}],
        "replay": maybe(lambda value: set(value) == {
            "stage", "time", "generation", "not_replayed", "frames", "in_use"})},
    "poisonctl/replay-v1": {
        "stage": one_of("initramfs", "service"), "time": time, "boot_id": text,
        "kernel_release": text, "page_size": integer, "generation": integer, "dry_run": flag,
        "stopped": flag, "flags_read": flag, "not_replayed": text, "orders": integer,
        "duration_us": integer, "frames": {state: integer for state in REPLAY_STATES},
        "handovers": [{
            "from": text, "trust": one_of("accept", "quarantine", "refuse", "unreadable"),
            "generation": integer, "used": flag, "findings": [{"rule": text, "message": text}]}],
        "ranges": [{
            **RANGE, "state": one_of(*REPLAY_STATES),
            "use": one_of("none", "free", "slab", "page-table", "reserved", "host", "huge",
                          "anonymous", "page-cache", "kernel"),
            "retirement": one_of(*RETIREMENT), "errno": integer, "how": text}],
        "kept": [RANGE], "unsure": [RANGE],
        "refused": [{**RANGE, "reason": text}]},
}


def check(value, shape, where):
    if isinstance(shape, list):
        assert isinstance(value, list), f"{where} is no array"
        for index, item in enumerate(value):
            check(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{where} is no object"
        wanted = {key.rstrip("?") for key in shape}
        needed = {key for key in shape if not key.endswith("?")}
        assert needed <= set(value) <= wanted, f"{where} has {sorted(value)}, not {sorted(wanted)}"
        for key, part in shape.items():
            if key.rstrip("?") in value:
                check(value[key.rstrip("?")], part, f"{where}.{key}")
    else:
        assert shape(value), f"{where} is {value!r}"


def main(schema):
    told = sys.stdin.read()
    value = json.loads(told)
    assert told.endswith("}\n"), "no line end"
    assert list(value)[0] == "schema", "schema is not first"
    assert value.pop("schema") == schema, f"not of schema {schema}"
    check(value, SHAPES[schema], "it")


if __name__ == "__main__":
    main(sys.argv[1])
