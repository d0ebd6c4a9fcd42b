"""Prometheus' exposition format, read as strictly as its description allows."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r"(?:[a-zA-Z_][a-zA-Z0-9_]*=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)*"
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABELS})\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def read(text):
    """Samples by name and labels (their text, or None); what breaks the format fails."""
    assert text.endswith("\n")
    kinds, helped, samples, current = {}, set(), {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, help = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line).groups()
            assert name not in helped, f"{name} has HELP twice"
            assert not re.search(r"\\[^\\n]", help)
            helped.add(name)
            current = name
        elif line.startswith("# TYPE "):
            name, kind = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)", line).groups()
            assert name == current and name not in kinds, f"TYPE of {name} is not right after its HELP"
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            assert current in kinds, f"{name} is not with its HELP and TYPE"
            family = [current + part for part in PARTS.get(kinds[current], ("",))]
            assert name in family, f"{name} is not with its HELP and TYPE"
            assert (kinds[current] == "counter") == current.endswith("_total") or kinds[current] == "summary", f"{name} is a {kinds[current]}"
            assert (name, labels) not in samples, f"{line} twice"
            samples[name, labels] = float(value)
    assert set(kinds) == helped
    return samples
