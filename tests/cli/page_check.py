#!/usr/bin/env python3
"""Checks a page of 'poisonctl report' past poisonctl: that html5lib, which parses as browsers do, finds
no error, that nothing is fetched and nothing runs, and that links lead somewhere. Prints its text."""
import re
import sys

import html5lib

ELEMENTS = set("html head meta title style body main header footer section article div p h1 h2 h3 ul li a"
               " span strong code pre br table tbody tr th td svg defs g use rect path circle text".split())
REFERENCES = {"src", "href", "action", "data", "poster", "srcset", "xlink:href", "formaction", "background"}


def name_of(tag):
    return tag.rsplit("}", 1)[-1]


def main():
    page = sys.stdin.buffer.read()
    parser = html5lib.HTMLParser(strict=False)
    tree = parser.parse(page, transport_encoding="utf-8")
    faults = [f"{position}: {error}" for position, error, _ in parser.errors]
    ids, links, text = set(), set(), []
    for element in tree.iter():
        name = name_of(element.tag)
        if name not in ELEMENTS:
            faults.append(f"element {name}")
        for attribute, value in element.attrib.items():
            attribute = name_of(attribute)
            if attribute.startswith("on") or attribute == "style":
                faults.append(f"{name} {attribute}={value!r}")
            if attribute == "id":
                if value in ids:
                    faults.append(f"id {value!r} twice")
                ids.add(value)
            if attribute in REFERENCES:
                links.add(value)
        if name == "style":
            if re.search(r"@import|url\(|expression", element.text):
                faults.append("the style sheet fetches something")
            continue
        text += [part for part in (element.text, element.tail) if part]
    faults += [f"link {link!r}" for link in links if not link.startswith("#") or link[1:] not in ids]
    if b"://" in page:
        faults.append("an address of the network")
    if faults:
        sys.exit("\n".join(faults[:20]))
    print(re.sub(r"\s+", " ", " ".join(text)))


if __name__ == "__main__":
    main()
