#!/usr/bin/env python3
"""Checks that standard input is one JSON object of the form that the design page promises."""
import json
import re
import sys

RETIREMENT = {"pending", "effective", "failed", "unknown"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


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


def node(value):
    return value is None or integer(value)


RANGE = {"address": integer, "size": integer}
SHAPES = {
    "poisonctl/records-v1": {
        "page_size": integer,
        "records": [{
            "id": integer, **RANGE, "exact": flag,
            "condition": one_of("suspect", "faulty"), "retirement": one_of(*RETIREMENT),
            "severity": one_of("ue", "ce", "poisoned"), "sources": [text],
            "first_seen": time, "last_seen": time, "events": integer, "node": node}]},
    "poisonctl/findings-v1": {
        "findings": [{
            "rule": text, "severity": one_of("error", "warning", "note"), **RANGE,
            "message": text}]},
    "poisonctl/plan-v1": {
        "generation": integer,
        "backends": [{
            "name": text, "available": flag, "reason": text, "covered": [RANGE],
            "refused": [{**RANGE, "reason": text}], "side_effects": [text],
            "artifact": text}]},
    "poisonctl/verify-v1": {
        "ranges": [{**RANGE, "retirement": one_of(*RETIREMENT), "how": text}]},
    "poisonctl/backends-v1": {
        "backends": [{"name": text, "summary": text, "available": flag, "reason": text}]},
    "poisonctl/events-v1": {
        **RANGE,
        "events": [{
            "id": integer, "time": time, "kind": one_of("ue", "ce", "poisoned", "outcome"),
            **RANGE, "exact": flag, "retirement?": one_of(*RETIREMENT), "evidence": text,
            "source": text, "tool": text, "uid": integer, "boot_id": text,
            "kernel_release": text, "host_id": text, "product_uuid": text,
            "page_size": integer}]},
    "poisonctl/status-v1": {
        "registry": text, "registry_exists": flag, "generation": integer, "page_size": integer,
        "kernel_release": text, "boot_id": text, "ram_bytes": integer,
        "left_out_bytes": integer, "hardware_corrupted_bytes": integer, "faulty": integer,
        "suspect": integer, "effective": integer, "pending": integer, "failed": integer,
        "unknown": integer, "retire_list_bytes": integer, "findings": integer},
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
