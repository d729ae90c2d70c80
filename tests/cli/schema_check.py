#!/usr/bin/env python3
"""Checks lines or a whole file of JSON against a published schema, with python3-jsonschema.

    schema_check.py [--lines] SCHEMA [FILE]

SCHEMA is a name in packaging/doc/schema, without .json. Prints how many objects fit.
"""
import json
import pathlib
import sys

import jsonschema

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "packaging/doc/schema"


def main():
    words = sys.argv[1:]
    by_line = words[0] == "--lines"
    name, *files = words[1:] if by_line else words
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    text = pathlib.Path(files[0]).read_text(encoding="utf-8") if files else sys.stdin.read()
    objects = [json.loads(line) for line in (text.splitlines() if by_line else [text])]
    for number, it in enumerate(objects, start=1):
        for error in validator.iter_errors(it):
            sys.exit(f"object {number}: {error.json_path}: {error.message}")
    print(len(objects))


main()
