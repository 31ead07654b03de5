"""The README's table of methods is the table of methods.

python tests/test_readme.py      # write it again
"""

import re
from pathlib import Path

from medsr_core import networks

README = Path(__file__).resolve().parent.parent / "README.md"
TABLE = re.compile(r"(?<=<!-- methods -->\n).*?(?=\n<!-- end -->)", re.S)


def table():
    lines = ["| method | of | what it does | weights |", "|---|---|---|---|"]
    for method in networks.METHODS.values():
        own = [f for f in networks.shipped() if f.method == method.name]
        names = dict.fromkeys(f.name for f in own)
        larger = {n: [f"{f.factor}x" for f in own if f.name == n and f.factor != 4] for n in names}
        only = {n: any(f.name == n and f.factor == 4 for f in own) for n in names}
        shown = [
            n + (f" ({'' if only[n] else 'only '}{', '.join(more)})" if more else "") for n, more in larger.items()
        ]
        about = method.about + ("; draws samples" if method.samples else "")
        lines.append(f"| `{method.name}` | {method.family} | {about} | {', '.join(shown)} |")
    return "\n".join(lines)


def test_the_table_of_methods_is_the_one_in_the_code():
    assert TABLE.search(README.read_text(encoding="utf-8"))[0] == table(), "python tests/test_readme.py"


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda _: table(), README.read_text(encoding="utf-8")), encoding="utf-8")
