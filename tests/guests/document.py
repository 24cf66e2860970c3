"""Writes document.json, the document that the guest `json` parses: a made-up chart of lighthouses.

The same bytes on every run. It has what documents in the wild have: nested objects and arrays,
numbers with and without fractions and exponents, escapes, text outside ASCII, null, indents.
"""

import json
import pathlib

SYLLABLES = "gran mar tor vik sund ná ey skær pen ros fjord lo sant ille cap ør bel düne".split()
KEEPERS = ["Ada", "Bjørn", "Céline", "Đorđe", "Eiríkur", "藤井", "Grace", "Øyvind"]
LIGHTS = ["Fl", "Oc", "Iso", "Q", "LFl", "Mo(A)"]
FEATURES = 90

state = 7


def random(below):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % below


def name():
    word = "".join(SYLLABLES[random(len(SYLLABLES))] for _ in range(2 + random(2)))
    return word.capitalize()


def outline(longitude, latitude):
    corners = [[(longitude + random(9000) - 4500) / 1e6, (latitude + random(9000) - 4500) / 1e6] for _ in range(4)]
    return corners + corners[:1]


def feature(number):
    longitude, latitude = random(40_000_000) - 10_000_000, 45_000_000 + random(25_000_000)
    properties = {
        "name": name(),
        "lit": bool(random(5)),
        "built": 1650 + random(350) if random(6) else None,
        "height": (50 + random(900)) / 10,
        "range_nm": 5 + random(25),
        "candela": float(f"{1 + random(99)}e{3 + random(3)}"),
        "light": f"{LIGHTS[random(len(LIGHTS))]}({1 + random(4)}) W {5 + random(25)}s",
        "colours": ["white", "red", "green"][: random(4)],
        "keepers": [{"name": KEEPERS[random(len(KEEPERS))], "since": 1900 + random(100)} for _ in range(random(3))],
    }
    if random(4) == 0:
        properties["note"] = f'“{name()}”\t\\ rebuilt\n"{name()}" / {name()} \U0001f5fc'
    if random(2):
        geometry = {"type": "Point", "coordinates": [longitude / 1e6, latitude / 1e6]}
    else:
        geometry = {"type": "Polygon", "coordinates": [outline(longitude, latitude)]}
    return {"type": "Feature", "id": f"light/{number:04}", "properties": properties, "geometry": geometry}


def main():
    chart = {
        "type": "FeatureCollection",
        "name": "lights",
        "generated": {"by": "document.py", "scale": 2.5e-05, "offset": -1e-3, "empty": [{}, [], ""]},
        "features": [feature(number) for number in range(FEATURES)],
    }
    # Every other feature escapes what lies outside ASCII, and the first ones are indented.
    parts = [
        json.dumps(feature, ensure_ascii=number % 2 == 0, indent=2 if number < 20 else None)
        for number, feature in enumerate(chart["features"])
    ]
    head = json.dumps({**chart, "features": []}, indent=1)
    text = head.replace('"features": []', '"features": [\n' + ",\n".join(parts) + "\n]") + "\n"
    pathlib.Path(__file__).with_name("document.json").write_text(text, encoding="utf-8")


main()
